"""Tidying of answers, refusals, wrong languages, and lengths in every script."""

from __future__ import annotations

import pytest

from densespec.generation.filters import rejection
from densespec.generation.language import script_counts, wrong_language
from densespec.generation.prompt import SHARED
from densespec.generation.tidying import MENTION_ELSEWHERE, find_query, mentions_passage, refused
from densespec.generation.words import length
from densespec.io.jsonl import read_jsonl
from densespec.records import Passage

POOLS = [
    (row["query"], row["passage"])
    for path in sorted(SHARED.glob("*.examples.jsonl"))
    for _, row in read_jsonl(path)
]
ASKED = "What does a heat pump need?"


def tidy(answer: str) -> str:
    return find_query(answer)[0]


@pytest.mark.parametrize(
    "answer",
    [
        ASKED,
        f"  {ASKED}\n",
        f'"{ASKED}"',
        f"“{ASKED}”",
        f"„{ASKED}“",
        f"'{ASKED}'",
        f'"{ASKED}',  # cut off, or stopped at a line break
        f"**{ASKED}**",
        f"*{ASKED}*",
        f"`{ASKED}`",
        f"- {ASKED}",
        f"• {ASKED}",
        f"1. {ASKED}\n2. What else?",
        f"2) {ASKED}",
        f"(1) {ASKED}",
        f"# {ASKED}",
        f"> {ASKED}",
        f"Question: {ASKED}",
        f"**Question:** {ASKED}",
        f"**Question**: {ASKED}",
        f"Web search query: {ASKED}",
        f"Q: {ASKED}",
        f"Frage: {ASKED}",
        f"質問：{ASKED}",
        f"Here is a question: {ASKED}",
        f"Here's a question that the passage answers:\n\n{ASKED}",
        f"Here’s one possible search query:\n1. **“{ASKED}”**",
        f"Sure! Here is a question:\n{ASKED}",
        f"Sure!\n\n{ASKED}\n\nThis question asks about heating.",
        f"Certainly, {ASKED}",
        f"According to the passage, {ASKED[0].lower()}{ASKED[1:]}",
        f"```text\n{ASKED}\n```",
        f"Sure, I'd be happy to help! {ASKED}",
        f"I would be glad to write a query.\n\n{ASKED}",
        f"Question 1: {ASKED}\nQuestion 2: What else?",
        f"Here is one that fits:\n\n> {ASKED}",
        f"Voici une question :\n« {ASKED} »",
        f"这是一个问题：\n{ASKED}",
        f"**Web search query**\n---\n{ASKED}",
        f"# Question\n\n1. **{ASKED}**\n   Answer: power.",
        f"The reader would type:\n\n```\n{ASKED}\n```\n\nThis is short.",
        f"<think>The passage is about\nheating.</think>\n\n{ASKED}",
        f"Okay, a question about heating.\n</think>\n\n{ASKED}",
        f"The question is: {ASKED}",
        f"A possible search query would be: {ASKED}",
        f"The question that the passage answers is:\n{ASKED}",
        f'{{"query": "{ASKED}"}}',
        f'{{"question": "{ASKED}"}}',
        f'Here it is:\n\n```json\n{{\n  "query": "{ASKED}"\n}}\n```\nShort.',
        f'{{"query": "Question: {ASKED}", "kind": "question"}}',
    ],
)
def test_what_stands_around_a_query_is_taken_off(answer):
    assert tidy(answer) == ASKED
    assert tidy(tidy(answer)) == ASKED


@pytest.mark.parametrize(
    "query",
    [
        "'ABC 123!' counts as uppercase because characters without case are ignored.",
        '"cannot resolve" error in "logging.config"',
        "'tis the season: who wrote 'deck the halls'",
        "python f(**kwargs) vs f(*args)",
        "what is 2**3**2 in python",
        "__init__ called twice",
        "*args meaning",
        "24. Dezember geöffnet",
        "3.11 vs 3.12 speed",
        "-1 as array index",
        "Here's How Vaccines Work: A Guide",
        "Colons and Titles: How to Use Both",
        "sure thing chords",
        "ok button greyed out",
        "answering machine beep",
        "what is the passage of time",
        "東京から京都まで：電車の時間",
        "#include not found",
        "python TypeError:",
        "I'd be happier with a larger tank",
        '{"query": {"match_all": {}}} elasticsearch',
        '{"a": 1} to csv',
        "what is the question: to be or not to be",
        "The Question Is Why: A History",
    ],
)
def test_a_bare_query_stays_as_it_is(query):
    assert tidy(query) == query
    assert not refused(query)


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (ASKED, 0),
        (f"```\n{ASKED}\n```", 0),
        (f"Here is a question: {ASKED}", 1),
        (f"**Question:** {ASKED}", 1),
        (f"According to the passage, {ASKED[0].lower()}{ASKED[1:]}", 1),
        (f"1. {ASKED}", 0),
        (f"Sure!\nQuestion: {ASKED}", 2),
        (f"\n\n{ASKED}\nIt asks about heating.", 0),
        (f"Sure!\n\nHere is a question:\n\n{ASKED}", 2),
        (f"Voici :\n---\n{ASKED}", 1),
        (f"<think>Well:\nheat.</think>Question:\n{ASKED}", 1),
    ],
)
def test_lines_of_preamble_are_counted(answer, lines):
    assert find_query(answer)[:2] == (ASKED, lines)


@pytest.mark.parametrize(
    ("answer", "last"),
    [
        (ASKED, True),
        ("Here is a question that the passage answers:\n\nHow often may a client", True),
        ("Here is a question that the passage", True),
        ("<think>The passage is about", True),
        ("", True),
        (f"{ASKED}\n\nThis asks about", False),
        (f"```\n{ASKED}\n```", False),
        (f'{{"query": "{ASKED}"}}', False),
        (f'{{"query": "{ASKED}', True),
        (f"1. {ASKED}\n2. What", False),
    ],
)
def test_whether_anything_stands_below_the_query(answer, last):
    assert find_query(answer).last == last


def test_json_is_read_whatever_is_in_the_query():
    assert tidy('{"query": "what does f\\"{x}\\" do?"}') == 'what does f"{x}" do?'
    assert tidy('{"query": "two\\nlines"}') == "two"
    assert tidy('{"query": ""}') == ""


NOTHING = [
    "", " \n ", "Question:", "**", '""', "<think>Let me see", "Sure!",
    "---\n```\n```", "Here is a question:\n"
]  # fmt: skip


@pytest.mark.parametrize("answer", NOTHING)
def test_nothing_is_left_of_an_answer_without_a_query(answer):
    passage = Passage("p", "", "Some text.")
    assert rejection(tidy(answer), passage, set(), max_words=20, copy_ngram=6) == "empty"


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot answer that question.",
        "I can't help with that.",
        "I’m sorry, but I can't assist with this request.",
        "I am unable to generate a query for this passage.",
        "I apologize, but the text is not suitable.",
        "As an AI language model, I do not search the web.",
        "As a large language model I have no opinions.",
        "Sure! Unfortunately, the passage does not say.",
        "The passage does not contain enough information.",
        "Please provide the passage.",
        "There is no passage given.",
        "Sorry, I can't do that.",
        "Sorry, but I’m unable to write one.",
        "Sorry, no question comes to mind.",
        "N/A",
        "n/a.",
        "None",
        "Question: None.",
        "No query can be written for this.",
        "No suitable question could be formulated.",
        '{"query": "N/A"}',
    ],
)
def test_refusals(answer):
    passage = Passage("p", "", "Some text.")
    assert rejection(tidy(answer), passage, set(), max_words=20, copy_ngram=6) == "refusal"


@pytest.mark.parametrize(
    "answer",
    [
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "Ich kann diese Anfrage leider nicht beantworten.",
        "Als KI-Modell kann ich dazu nichts sagen.",
        "Désolé, je ne peux pas vous aider.",
        "Je suis désolée, mais le texte est vide.",
        "Lo siento, no puedo ayudarte con eso.",
        "Desculpe, não posso ajudar com isso.",
        "Como uma IA, não posso responder.",
        "Mi dispiace, ma non posso aiutarti.",
        "К сожалению, я не могу составить вопрос.",
        "申し訳ありませんが、お手伝いできません。",
        "很抱歉，我无法回答。",
        "我无法提供该内容。",
        "作为一个人工智能，我没有意见。",
        "죄송합니다, 도와드릴 수 없습니다.",
    ],
)
def test_refusals_in_other_languages(answer):
    assert refused(tidy(answer))


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("Hier ist eine Frage: Wie lang ist der Fluss?", "Wie lang ist der Fluss?"),
        ("Hier ist eine mögliche Suchanfrage:\nLänge des Flusses", "Länge des Flusses"),
        ("Voici une question possible : Quelle est sa longueur ?", "Quelle est sa longueur ?"),
        ("Aquí tienes una pregunta: ¿Cuánto mide el río?", "¿Cuánto mide el río?"),
        ("Aqui está uma pergunta: Qual é o comprimento do rio?", "Qual é o comprimento do rio?"),
        ("Ecco una domanda: Quanto è lungo il fiume?", "Quanto è lungo il fiume?"),
        ("Вот вопрос: Какова длина реки?", "Какова длина реки?"),
        ("以下は質問です：川の長さは？", "川の長さは？"),
        ("以下是一个问题：河有多长？", "河有多长？"),
        ("다음은 질문입니다: 강의 길이는?", "강의 길이는?"),
    ],
)
def test_preambles_in_other_languages(answer, query):
    assert tidy(answer) == query


@pytest.mark.parametrize(
    "query",
    [
        "Worum geht es in dem obigen Text?",
        "Que dit le texte ci-dessus ?",
        "¿Qué dice el texto de arriba?",
        "De que trata o texto acima?",
        "Di cosa parla il testo sopra riportato?",
        "О чём приведённый отрывок?",
        "上記の文章の主題は何ですか",
        "上述文本讲了什么",
        "위 글의 주제는 무엇인가",
    ],
)
def test_queries_that_speak_of_the_passage_in_other_languages(query):
    assert mentions_passage(query, "Some text.")
    assert not mentions_passage(query, f"Aufgabe: {query}"), "the passage has the words itself"


@pytest.mark.parametrize(
    "query",
    [
        "Es tut mir leid auf Englisch",
        "lo siento significado",
        "mi dispiace traduzione",
        "Desculpe o transtorno significado",
        "Hier ist der Link: Fehler im Browser",
        "Вот это номер: кто звонил",
        "Вот в чём вопрос: быть или не быть",
        "Как ИИ меняет рынок труда?",
        "Как языковая модель генерирует текст",
        "Я не могу создать учетную запись Apple ID",
        "Como IA pode ajudar na educação",
        "Não posso gerar boleto do MEI",
        "Como un modelo de lenguaje aprende",
        "No puedo escribir en Word",
        "Lamento no haber ido a la universidad",
        "Als KI-Entwickler arbeiten: Voraussetzungen",
        "Als KI noch Zukunftsmusik war",
        "Ich kann diese Datei nicht löschen",
        "Leider kann ich nicht kommen Absage schreiben",
        "Je ne peux pas générer de facture PDF",
        "申し訳ございません ビジネスメール 例文",
        "すみませんが 英語",
        "죄송합니다 영어로",
        "我不能生成密钥怎么办",
        "对不起，我爱你 剧情",
        "1위 글로벌 반도체 기업",
        "세계 순위 글꼴",
        "inserire testo sopra immagine word",
        "colocar texto acima da imagem no Word",
        "recuperar o texto anterior no Word",
        "上記の文字列を置換するコマンド",
        "以下のクエリでエラーになる：Unknown column",
        "以下SQL查询报错：ORA-00933",
        "Hier ist die Umfrage: Wie die Deutschen wählen",
        "Hier ist der neue Titel: Helene Fischer",
        "Voici le titre du film : Amélie",
        "text über dem bild einfügen",
        "I can't create a title in my plot; what is missing?",
        "i cannot provide credentials to git",
        "I can't sleep after drinking coffee, why?",
        "I am unable to log in to my account",
        "as an airline passenger what are my rights",
        "the passage does not fit on one page latex",
        "No passengers were hurt in the ferry accident.",
        "Sorry Seems to Be the Hardest Word: Apologies in Pop",
        "Sorry, I Can't Dance lyrics",
        "sorry, i can't log in",
        "None of the above excel formula",
        "n/a in excel vlookup",
        "No claim can be made after two years.",
        "No title deed found, what now?",
    ],
)
def test_what_only_looks_like_a_refusal(query):
    assert tidy(query) == query
    assert not refused(query)
    assert not MENTION_ELSEWHERE.search(query)


@pytest.mark.parametrize(
    ("query", "dropped"),
    [
        ("What does the passage say about deposits?", True),
        ("Which claim of this excerpt is wrong?", True),
        ("Who wrote the text above?", True),
        ("how does the passage of time change memory", False),
        ("underground passage opening hours", False),
        ("how do I show the text below the image", False),
    ],
)
def test_queries_that_speak_of_the_passage(query, dropped):
    passage = Passage("p", "", "Deposits are due in May.")
    reason = rejection(query, passage, set(), max_words=20, copy_ngram=6)
    assert reason == ("mentions_passage" if dropped else "")
    about_passages = passage._replace(text="The north-west passage is open.")
    assert rejection(query, about_passages, set(), max_words=20, copy_ngram=6) == ""


def test_the_pools_go_through_unchanged():
    for query, passage in POOLS:
        assert tidy(query) == query
        assert not refused(query)
        assert not wrong_language(query, passage, "en"), query
        assert not wrong_language(query, "", "en"), query


TEXTS = {
    "en": (
        "The landlord has to return the deposit once the tenancy is over.",
        "who keeps the deposit if it is late",
    ),
    "de": (
        "Der Vermieter muss die Kaution nach dem Auszug zurückzahlen.",
        "wie lange darf der Vermieter warten",
    ),
    "fr": (
        "Le bailleur doit rendre le dépôt dans les deux mois.",
        "dans quel délai le dépôt sera rendu par le bailleur",
    ),
    "es": (
        "El arrendador debe devolver la fianza en un mes.",
        "qué hago si el dueño no me devuelve la fianza",
    ),
    "ru": (
        "Арендодатель обязан вернуть залог через месяц.",
        "когда мне вернут залог",
    ),
    "ja": (
        "大家は退去後に敷金を返さなければならない。",
        "敷金はいつ戻りますか",
    ),
    "zh": (
        "房东必须在租期结束后退还押金。",
        "押金什么时候退还",
    ),
    "th": (
        "เจ้าของบ้านต้องคืนเงินมัดจำหลังย้ายออก",
        "เงินมัดจำคืนเมื่อไร",
    ),
    "ar": (
        "يجب على المالك رد التأمين بعد انتهاء العقد",
        "متى يرد المالك التأمين",
    ),
    "hi": (
        "मकान मालिक को जमा राशि लौटानी होगी।",
        "जमा राशि कब मिलेगी",
    ),
    "ko": (
        "집주인은 보증금을 돌려주어야 한다.",
        "보증금은 언제 받나요",
    ),
}


@pytest.mark.parametrize("own", TEXTS)
@pytest.mark.parametrize("other", TEXTS)
def test_languages_are_told_apart(own, other):
    if {own, other} == {"ja", "zh"}:
        pytest.skip("both have Han")
    assert wrong_language(TEXTS[other][1], TEXTS[own][0], own) == (own != other)


def test_names_code_and_keywords_are_of_no_language():
    english = TEXTS["en"][0]
    assert not wrong_language("kaution rückzahlung mietvertrag", english, "en")
    assert not wrong_language("La La Land soundtrack", english, "en")
    assert not wrong_language("der die das", "The articles der, die and das decline.", "en")
    assert not wrong_language("42", english, "en")
    assert not wrong_language("wat is een huis", "Dom to budynek.", "pl"), "no list for Polish"
    code = "Pythonの list.sort() はリストを並べ替える。reverse=True で逆順になる。"
    assert not wrong_language("python list sort reverse", code, "ja")


UNLISTED = {
    "pl": (
        "Wisła przepływa przez Kraków i Warszawę, a uchodzi do Bałtyku.",
        "Jak to jest, że on nie ma pieniędzy, żeby pójść do domu by odpocząć?",
    ),
    "cs": (
        "Řeka protéká Prahou a ústí do Labe u města Mělník.",
        "Kdo by to do večera stihl, když on je na cestě a my ne?",
    ),
    "hu": (
        "A folyó átfolyik a városon, és a tengerbe ömlik délen.",
        "Hol van a ház, és mi is lehet be vagy ki no de ha az ember ír?",
    ),
    "fi": (
        "Joki virtaa kaupungin läpi ja laskee mereen sen eteläpuolella.",
        "Miten joki on niin pitkä ja me emme tiedä sitä?",
    ),
    "id": (
        "Sungai itu mengalir melalui kota dan bermuara di laut Jawa.",
        "Berapa panjang sungai itu dan di mana hulu sungai itu ada?",
    ),
    "vi": (
        "Con sông chảy qua thành phố rồi đổ ra biển.",
        "Con sông này dài bao nhiêu và nó bắt nguồn từ đâu do ai đo?",
    ),
}


@pytest.mark.parametrize("language", UNLISTED)
def test_english_for_a_passage_in_a_language_without_a_list(language):
    passage, own = UNLISTED[language]
    assert wrong_language("How long is the river that flows through the city of Krakow?", passage, language)
    assert wrong_language("What does it take to be on the list of those who can vote?", passage, language)
    assert not wrong_language(own, passage, language)
    assert not wrong_language("to be or not to be", f"{passage} To be or not to be.", language)
    assert not wrong_language("docker compose up", passage, language)
    for english in ("The rent is due in May. It is paid to the agent by transfer.", "Return its size."):
        assert not wrong_language("How long is it until they have to give the money back?", english, language)


def test_afrikaans_is_not_english():
    passage = "Kaapstad lê aan die voet van Tafelberg langs die see."
    assert not wrong_language("hoe warm is dit in Kaapstad as dit so reën by my", passage, "af")


def test_a_corpus_in_another_language_than_params_say_is_not_thrown_away():
    assert not wrong_language(TEXTS["de"][1], TEXTS["de"][0], "en")
    assert wrong_language(TEXTS["fr"][1], TEXTS["de"][0], "en")


def test_script_counts():
    assert script_counts("Ab 1, カな漢 д") == {"LATIN": 2, "KANA": 2, "CJK": 1, "CYRILLIC": 1}


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("東京駅から新宿駅までの行き方を教えてください", 9, 13),  # 13 morphemes
        ("如何区分高血压和低血压的早期症状", 8, 10),  # 9 words
        ("วิธีทำต้มยำกุ้งให้อร่อยแบบร้านอาหาร", 8, 10),  # 8 words, or 9
        ("តើធ្វើដូចម្តេចដើម្បីទៅភ្នំពេញ", 5, 8),  # 6 words
        ("한국어는 띄어쓰기를 한다", 3, 3),
        ("हिंदी में खोज कैसे करें", 5, 5),
        ("Pythonで辞書をソートする方法", 6, 8),  # a foreign word counts too
        ("iPhone 15の電池", 4, 4),
        ("don't stop — now", 3, 3),
    ],
)
def test_lengths_are_near_what_a_reader_counts(text, low, high):
    assert low <= length(text) <= high


def test_a_long_sentence_without_spaces_is_too_long_and_an_ordinary_one_is_not():
    passage = Passage("p", "", "敷金")
    asked = "大家が退去後に敷金を返してくれない場合はどこに相談すればよいですか"
    assert rejection(asked, passage, set(), 20, 6, "ja") == ""
    assert rejection(asked * 2, passage, set(), 20, 6, "ja") == "too_long"
