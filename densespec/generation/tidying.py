"""Taking off what a language model puts around the query it was asked for, and telling a refusal.

Every writer's text goes through :func:`find_query` before the filters; a bare query comes out as it went in.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

#: Reasoning that some models print first; without its end, the answer was never reached. Its beginning is
#: missing where the chat template wrote it, as part of the prompt.
THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)|\A.*</think>", re.DOTALL | re.IGNORECASE)
#: A bullet, a heading, a quotation mark of Markdown, a number. Of "N." only 1, which a single answer
#: gets: other languages write ordinals and dates so ("24. Dezember").
MARKER = re.compile(r"(?:[-*+•–>]|#{1,6}|\(?\d{1,2}\)|1\.)\s+")
BOLD = re.compile(r"(?<!\w)\*\*(\S|\S.*?\S)\*\*(?!\w)")
CODE = re.compile(r"(`+)([^`]+)\1")
ASKED_FOR = r"(?:questions?|quer(?:y|ies)|claims?|titles?|keywords?)"
LABEL = rf"(?:(?:web )?search |factual |possible )?{ASKED_FOR}(?: \d{{1,2}})?"
PREAMBLES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:sure|certainly|of course|absolutely|okay|ok)(?: thing)?[!.,:]\s*",
        rf"here(?:['’]s| is| are)\b[^:?]*\b{ASKED_FOR}\b[^:?]*:\s*",
        r"(?:according to|based on) (?:the|this) (?:passage|text)(?: above| below)?,\s*",
        rf"{LABEL}\s*:\s*",
        rf"(?:the|my|one|a|an)\b (?:[\w-]+ )?{LABEL}\b[^:?]*\b(?:is|(?:would|could|might|can) be)\s*:\s*",
        r"I(?:['’]d| would) be (?:happy|glad) to\b[^:?]*?[!.:](?:\s+|$)",
        r"(?:q|answer|output|response)\s*:\s*",
        r"(?:frage|suchanfrage|titel|pregunta|consulta|título|pergunta|requête|titre|domanda|titolo|вопрос|"
        r"запрос|質問|クエリ|タイトル|问题|查询|标题|질문|검색어|제목)\s?[:：]\s*",
        r"hier (?:ist|sind) (?:eine?|die|der) (?:(?:mögliche|passende|geeignete)r? )?"
        r"(?:(?:such|web)?(?:an)?frage|titel|behauptung|stichwörter)\s*:\s*",
        r"voici (?:une?|la|le|les) (?:question|requête|titre|affirmation|mots-clés)"
        r"(?: possible| pertinente?| de recherche)?\s*:\s*",
        r"aquí (?:está|tienes) (?:una?|la|el) (?:posible )?(?:pregunta|consulta|título|afirmación)\s*:\s*",
        r"aqui está (?:uma?|a|o) (?:possível )?(?:pergunta|consulta|título|afirmação)\s*:\s*",
        r"ecco (?:una?|la|il) (?:possibile )?(?:domanda|query|titolo|affermazione)\s*:\s*",
        r"вот (?:возможный |подходящий )?(?:вопрос|запрос|заголовок)\s*:\s*",
        r"以下は(?:質問|クエリ|タイトル)です\s*[:：]\s*",
        r"以下是(?:一个|一条)?(?:可能的)?(?:问题|查询|标题)\s*[:：]\s*",
        r"다음은 (?:질문|검색어|제목)(?:입니다)?\s*[:：]\s*",
    )
)
#: A JSON object on lines of its own.
WRAPPED = re.compile(r'^[ \t]*(\{\s*".*?\})[ \t]*$', re.MULTILINE | re.DOTALL)
#: A line of its own above the query: a bare label, or whatever ends in a colon, in any language.
ANNOUNCEMENT = re.compile(rf"{LABEL}|.*[:：]", re.IGNORECASE)
QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "「": "」", "『": "』", "*": "*"}
#: Quotation marks between words; an apostrophe stands inside one.
INNER_QUOTE = re.compile(r"(?<!\w)['’‘]|['’](?!\w)")
#: Only with a capital I: people search for "i cannot provide credentials to git".
REFUSAL = re.compile(
    r"""(?x)
    As\ an\ (?:AI|artificial|LLM)\b | As\ a\ (?:large\ )?language\ model\b
    | I(?:['’]m|\ am)\ sorry(?:[,.]|\ but\b)
    | Sorry,\ (?:but\ )?(?:
        I\b['’\ ](?:m|am|can(?:['’]?t|not|\ not)|won['’]t|do|don['’]t)\b | there\ is\ no\b | no\b)
    | (?:N/A|n/a|None|Not\ applicable)\.?\Z
    | No\ (?:\w+\ )?(?:question|query|claim|title|keywords?|keyword\ query)\ (?:
        (?:can|could)\ be\ (?:written|generated|formulated|produced|derived|asked)\b | possible\b)
    | I\ apologi[sz]e\b | My\ apologies\b
    | (?:I(?:\ cannot|\ can['’]?t|\ can\ not|\ won['’]?t|\ will\ not|\ am\ unable\ to|['’]m\ unable\ to
        |\ am\ not\ able\ to|['’]m\ not\ able\ to))\ (?:
        help\ (?:you|with)\b | assist\b | comply\b | fulfil | engage\b
        | (?:write|generate|create|provide|produce|formulate|suggest|answer)\b
          (?!.*\?).*\b(?:question|query|claim|title|keywords?|content|request|passage|that|this|information)\b)
    | Unfortunately,?\ (?:I\b|the\ (?:passage|text)\b)
    | (?:The|This)\ (?:provided\ |given\ )?(?:passage|text)\ (?:
        does\ not | doesn['’]t | is\ (?:empty|incomplete|too))\b
    | Please\ provide\b | (?:There\ is\ no|No)\ passage\b
    """
)
#: The same in German, French, Spanish, Portuguese, Italian, Russian, Japanese, Chinese and Korean; only with
#: what is refused: people search for "No puedo escribir en Word" and for "申し訳ございません 例文".
REFUSAL_ELSEWHERE = re.compile(
    r"""(?x)
    Es\ tut\ mir\ leid,?\ (?:aber\ )?(?:ich\ kann|der\ Text)\b
    | Als\ (?:KI|Sprachmodell)(?:-\w+)?,?\ (?:kann|darf|bin)\ ich\b
    | (?:Leider\ kann\ ich|Ich\ kann)\ (?:(?:Ihnen\ |dir\ )?dabei
        |(?:diese|keine)\ (?:Such)?(?:[Aa]n)?[Ff]rage)\b
    | (?:Je\ suis\ )?[Dd]ésolée?,?\ (?:mais\ )?(?:je\ ne\ peux|le\ (?:texte|passage))\b
    | En\ tant\ qu['’](?:IA|assistant|intelligence\ artificielle)[^,]{0,40},\ je\b
    | Je\ ne\ peux\ pas\ (?:vous\ aider\b|(?:générer|créer)\ (?:de|une)\ (?:question|requête)\b)
    | Lo\ siento,\ (?:pero\ )?no\ puedo\b | Como\ (?:una?\ )?(?:IA|modelo\ de\ lenguaje)\b[^,]{0,40},\ no\b
    | No\ puedo\ (?:ayudar(?:te|le)\ con\b|(?:generar|escribir)\ una\ (?:pregunta|consulta)\b)
    | (?:Desculpe|Sinto\ muito|Lamento),\ (?:mas\ )?não\ posso\b
    | Como\ (?:uma?\ )?(?:IA|modelo\ de\ linguagem)\b[^,]{0,40},\ não\b
    | Não\ posso\ (?:ajudar\ com\ iss|(?:gerar|escrever)\ uma\ (?:pergunta|consulta)\b)
    | Mi\ dispiace,\ (?:ma\ )?non\ posso\b | Purtroppo\ non\ posso\ (?:aiutar|generare\ una\ domanda)
    | (?:К\ сожалению|Извините),\ (?:но\ )?я\ не\ могу\ (?:составить|создать|помочь|ответить|предоставить)\b
    | Как\ (?:ИИ|языковая\ модель),\ я\b | Я\ не\ могу\ помочь\ (?:с|вам)\b
    | 申し訳(?:ありません|ございません)が?[、,。].*ません
    | (?:很|非常)?(?:抱歉|对不起)[，,。]\s*我(?:无法|不能) | 我(?:无法|不能)(?:提供|回答)(?:该|此|这个|任何)
    | 作为(?:一个|一名)?(?:AI|人工智能|语言模型)[^，,]{0,20}[，,]\s*我
    | 죄송(?:합니다|하지만)[,.]?\ .*(?:수\ 없습니다|못합니다)
    """
)
#: Only somebody who has the passage can speak of it.
MENTION = re.compile(
    r"\b(?:the|this) (?:given |provided |above |following )?(?:passage(?! of)|excerpt)\b"
    r"|\bthe (?:text|article|document|paragraph) (?:above|below)\b(?! \w)",
    re.IGNORECASE,
)
MENTION_ELSEWHERE = re.compile(
    r"\b(?:obige|vorliegende|vorstehende)[nrms]? (?:text|textabschnitt)e?s?\b"
    r"|\b(?:le|du|ce|au) (?:texte|passage|paragraphe) ci-dessus\b"
    r"|\bel texto de arriba(?=\W*\Z)|\bo texto acima(?=\W*\Z)|\btesto (?:sopra riportato|riportato sopra)\b"
    r"|\bпривед[её]нн\w+ (?:выше )?(?:текст|отрыв)\w*"
    r"|上記の(?:文章|テキスト|本文)|上述(?:文本|段落)|上面(?:的|这段)(?:文本|段落|文章)"
    r"|(?<!\w)위(?:의)? (?:글|텍스트|본문|지문)(?=[은는이가을를의에]|\s|\Z)",
    re.IGNORECASE,
)


def unwrapped(text: str) -> str | None:
    """The query in an answer of JSON, ``{"query": "…"}``, on lines of its own; None if there is none.

    Under another name it counts where it is the object's only entry.
    """
    for found in WRAPPED.finditer(text):
        try:
            entries = json.loads(found[1], strict=False)
        except (ValueError, RecursionError):
            continue
        query = entries.get("query", next(iter(entries.values())) if len(entries) == 1 else None)
        if isinstance(query, str):
            return query
    return None


class Found(NamedTuple):
    """What was found in an answer.

    Attributes:
        query: one line, or ``""``.
        preambles: lines of preamble above it, and one more where its own line begins with one.
        last: nothing stands below it, not even the end of its block of code.
    """

    query: str
    preambles: int
    last: bool


def find_query(text: str) -> Found:
    """The query in a language model's answer, and where it stands.

    The query is one line without preamble, list marks, quotes and Markdown; ``""`` if no line holds one.
    It is the first line that holds anything beside marks and preambles and does not announce the next one.
    """
    said = THOUGHT.sub("", text).strip()
    inner = unwrapped(said)
    if inner is not None:
        return find_query(inner)._replace(last=False)
    everything = said.splitlines()
    lines = [(place, line) for place, line in enumerate(everything, start=1) if _says_something(line)]
    for number, (place, line) in enumerate(lines):
        bare, preamble = _bare(line)
        announces = number + 1 < len(lines) and ANNOUNCEMENT.fullmatch(bare)
        if not announces and _says_something(bare):
            return Found(bare, number + preamble, place == len(everything))
    return Found("", len(lines), True)


def _says_something(line: str) -> bool:
    """Not so an empty line, a rule, or the fence of a block of code."""
    return any(map(str.isalnum, line)) and not line.lstrip().startswith("```")


def refused(query: str) -> bool:
    """Is a tidied answer a refusal, or a remark on the passage, rather than a query?"""
    return any(pattern.match(query) for pattern in (REFUSAL, REFUSAL_ELSEWHERE))


def mentions_passage(query: str, passage: str) -> bool:
    """Does a query speak of "the passage", as no searcher would? Not if the passage has that very word."""
    if MENTION_ELSEWHERE.search(query):
        return not MENTION_ELSEWHERE.search(passage)
    found = MENTION.search(query)
    return found is not None and not re.search(r"passage|excerpt", passage, re.IGNORECASE)


def _bare(line: str) -> tuple[str, bool]:
    """A line with everything around its query taken off, layer by layer; whether a preamble was among it."""
    line = " ".join(line.split())
    line = CODE.sub(r"\2", BOLD.sub(r"\1", line))
    before, preambles = None, False
    while line != before:
        before = line
        line = _unquoted(MARKER.sub("", line, count=1) if MARKER.match(line) else line)
        for preamble in PREAMBLES:
            found = preamble.match(line)
            if found:
                preambles = True
                line = line[found.end() :]
                line = line[:1].upper() + line[1:] if found[0].endswith(", ") else line
    return line, preambles


def _unquoted(line: str) -> str:
    """Without quotation marks around the whole line, or one at its start that is never closed."""
    if len(line) < 2 or line[0] not in QUOTES:
        return line
    first, close, inner = line[0], QUOTES[line[0]], line[1:-1]
    if first in '"“„«「『' and not set(line[1:]) & {first, close}:
        return line[1:].strip()
    nested = INNER_QUOTE.search(inner) if first in "'‘" else set(inner) & {first, close}
    return line if not line.endswith(close) or nested else inner.strip()
