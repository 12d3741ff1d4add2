"""English: which languages are it, and the words and inflections that the extractive writer phrases with."""

from __future__ import annotations

from collections.abc import Sequence


def is_english(language: str) -> bool:
    """Whether a language is English, of any country.

    Args:
        language: as BCP 47 (``"en-GB"``).
    """
    return language.split("-")[0].lower() == "en"


def word_list(words: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(words.split())


ARTICLES = word_list("the a an its their his her our your my each")
DETERMINERS = ARTICLES | word_list("this that these those such all any both every")
BE = word_list("is are was were be been being")
MODALS = word_list("can could will would must may might shall should cannot can't won't don't")
#: Prepositions that may hold a noun phrase together.
LINKS = word_list("of for in to with from by on as between into over under about without within")
#: Words that open a new clause.
CLAUSE_STARTERS = word_list(
    """
    which that who whose if when whenever because while where unless until but so then whereas although
    though since than otherwise else however therefore instead see note except iff whereby
    wherein once
    """
)
STOP_WORDS = (
    word_list(
        """
    i me we us you he him she it they them who whom what which how why where when there here and or nor but
    if then else so than too very just also only even still yet not no any all both each every either neither
    some more most other another same own few many much one two due do does did done doing has have had having
    at up down out off above below again once during unlike after before through against per via upon among
    e.g i.e etc eg ie vs like please must need needs used use uses using based given possible respectively
    thus hence often always never usually sometimes simply really actually currently following follows
    already rather automatically corresponding certain specified respective various several doesn't isn't
    aren't wasn't didn't hasn't haven't shouldn't wouldn't couldn't
    """
    )
    | DETERMINERS
    | BE
    | MODALS
    | LINKS
    | CLAUSE_STARTERS
)
#: Clause starters after which a clause still states something.
STATING = word_list("that but so then however therefore because since although though whereas")
#: Words too general to be the whole of a query.
VAGUE_WORDS = word_list(
    """
    method methods function functions class classes module modules object objects value values thing things
    argument arguments parameter parameters instance instances result results return returns way ways case
    cases example examples default defaults type types name names number numbers call calls caller self none
    true false new optional current particular certain several various different specified operation list
    index copy set form tuple nothing error errors
    operations behavior behaviour study studies paper article effect effects data information interface
    present routine section chapter user users
    """
)
#: Possessives: what they point to is lost outside the passage.
POSSESSIVES = word_list("its their his her our your my")
#: Words that a phrase cannot end on.
LOOSE_ENDS = word_list("suitable available based according equivalent related compliant able likely")
#: Headings inside abstracts.
HEADINGS = (
    "BACKGROUND|INTRODUCTION|OBJECTIVES?|AIMS?|PURPOSE|DESIGN|SETTING|PARTICIPANTS|METHODS?|MEASUREMENTS|"
    "RESULTS?|FINDINGS|DISCUSSION|INTERPRETATION|CONCLUSIONS?|FUNDING|ABSTRACT|SIGNIFICANCE"
)
#: Verbs that instructions and abstracts use; a corpus adds its own (see densespec.generation.lexicon).
VERBS = word_list(
    """
    accept access add adjust affect align allocate allow analyse analyze append apply arrange assign assess
    associate attach authenticate avoid begin bind block break bring build calculate call cancel catch cause
    change check choose clean clear close collect combine compare compile compress compute configure confirm
    connect construct contain control convert copy create cut deal decode decrease decompress define delete
    deliver demonstrate deny depend describe detach detect determine develop disable discard display divide
    do download drop duplicate emit enable encode encrypt end enforce enhance enter escape estimate evaluate
    examine exclude execute exit expand explain export extend extract fetch fill filter find fix flush fold
    follow force format free gather generate get give grow guess handle help hide identify ignore implement
    import improve include increase indicate induce inhibit initialise initialize insert inspect install
    introduce invert investigate invoke issue iterate join keep kill launch lead leave limit listen load
    locate lock log lose lower make manage map mark match measure merge modify monitor move multiply normalise
    normalize notify obtain offer open overwrite override pad parse pass pause perform permit play poll prefer
    prepare prevent print process produce promote propagate protect provide put query quote raise read
    receive recognise recognize record recover reduce refer register reject release reload remove rename
    render repeat replace report represent request require reset resize resolve restart restore restrict
    retrieve return reveal reverse rotate round run save scale scan schedule search select send separate
    serialise serialize serve set share shift shorten show shut shuffle shutdown simulate skip sleep solve
    sort specify split start stop store strip subtract suggest support suppress swap switch take tell
    terminate test throw toggle track transfer transform translate trigger trim truncate try turn undo unlock
    unpack unregister update upgrade upload validate verify wait walk warn wrap write yield
    """
)
#: Words by which a text is known to be English.
ENGLISH_SIGNS = word_list("the a an of to and is are for with from by if in on this that be as or not")
#: What people say where documentation says something grander.
EVERYDAY_VERBS = {
    "return": "get",
    "retrieve": "get",
    "obtain": "get",
    "fetch": "get",
    "yield": "get",
    "construct": "create",
    "instantiate": "create",
    "generate": "make",
    "remove": "delete",
    "compute": "calculate",
    "determine": "find out",
    "test": "check",
    "invoke": "call",
    "perform": "do",
    "terminate": "end",
    "display": "show",
    "modify": "change",
    "specify": "set",
    "locate": "find",
    "indicate": "tell",
    "emit": "output",
    "execute": "run",
    "initialize": "set up",
    "initialise": "set up",
    "register": "add",
    "attempt": "try",
    "implement": "build",
    "handle": "deal with",
    "acquire": "take",
    "represent": "describe",
}
IRREGULAR = {"has": "have", "does": "do", "goes": "go", "undoes": "undo", "is": "be"}


def base_form(word: str) -> str:
    """Base of a verb in the third person (``returns`` → ``return``); other words lose nothing."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def third_person(verb: str) -> str:
    """``copy`` → ``copies``; of a verb with a particle, the first word is inflected."""
    first, *rest = verb.split(" ")
    if first.endswith("y") and first[-2:-1] not in "aeiou":
        form = first[:-1] + "ies"
    elif first.endswith(("s", "sh", "ch", "x", "z", "o")):
        form = first + "es"
    else:
        form = {"have": "has", "be": "is"}.get(first, first + "s")
    return " ".join([form, *rest])


def gerund(verb: str) -> str:
    """``get`` → ``getting``, ``make`` → ``making``; of a verb with a particle, the first word."""
    first, *rest = verb.split(" ")
    vowels = [character in "aeiou" for character in first]
    if first.endswith("ie"):
        form = first[:-2] + "ying"
    elif first.endswith("e") and not first.endswith(("ee", "oe", "ye")):
        form = first[:-1] + "ing"
    elif vowels[-3:] == [False, True, False] and sum(vowels) == 1 and first[-1] not in "wxy":
        form = first + first[-1] + "ing"
    else:
        form = first + "ing"
    return " ".join([form, *rest])


def is_plural(noun: str) -> bool:
    """A guess from the ending."""
    return noun.endswith("s") and not noun.endswith(("ss", "us", "is", "ics", "as", "os"))


def reads_as_english(words: Sequence[str]) -> bool:
    """Does a text hold English function words (one in fifteen), or is it a few words of ASCII?"""
    known = sum(word.casefold() in ENGLISH_SIGNS for word in words)
    if len(words) < 10 and not known:
        return all(word.isascii() for word in words)
    return known * 15 >= len(words)
