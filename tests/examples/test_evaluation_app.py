"""The evaluation app: each component on sentences written for it, then the three versions whole."""

from __future__ import annotations

import asyncio
import html
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
import uvicorn
from examples.evaluation_app import plans, users
from examples.evaluation_app.app import FAULT_VARIABLE, MAX_PLAN_BYTES, create_app
from examples.evaluation_app.contract import CONTRACTS, Evaluation, evaluation_contract
from examples.evaluation_app.faults import lot
from examples.evaluation_app.pipeline import COMPONENTS, IMPROVED, Pipeline
from examples.evaluation_app.pipeline.causal_pattern_detector import find_causal_links
from examples.evaluation_app.pipeline.contradiction_detector import find_contradictions
from examples.evaluation_app.pipeline.decalogo import QUESTIONS
from examples.evaluation_app.pipeline.document_segmenter import segment
from examples.evaluation_app.pipeline.embedding_model import cosine, embed
from examples.evaluation_app.pipeline.evidence_registry import evidence_id, register
from examples.evaluation_app.pipeline.feasibility_scorer import score_feasibility
from examples.evaluation_app.pipeline.finding import Finding
from examples.evaluation_app.pipeline.monetary_detector import find_amounts, find_figures
from examples.evaluation_app.pipeline.responsibility_detector import find_responsible
from examples.evaluation_app.pipeline.teoria_cambio import find_chains, longest_run
from examples.evaluation_app.pipeline.text import fold
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.waiting import PATIENCE

from canario.contracts import Violation
from canario.contracts.by_route import contracts_by_route
from canario.contracts.response import NOT_ABOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

ROOT = Path(__file__).resolve().parents[2]
PLANS = tuple(plans.TITLES)
GOOD, FAIR, POOR = PLANS
JSON_HEADERS = [(b"content-type", b"application/json")]


# --- asking an app -------------------------------------------------------------------------------


def ask(app: Starlette, method: str, path: str, **options: Any) -> httpx.Response:
    """One request to `app`; an exception in it is the 500 that a server would make of it."""

    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(exchange())


def post(app: Starlette, text: str) -> httpx.Response:
    return ask(app, "POST", "/evaluate", content=text.encode())


def judge(response: httpx.Response) -> str | None:
    return breach(response.content, response.headers.raw, response.status_code)


def breach(body: bytes, headers: Any = JSON_HEADERS, status: int = 200) -> str | None:
    """What is wrong with a response, in words; None when nothing is."""
    answer = evaluation_contract("/evaluate", status, headers, body)
    return str(answer) if isinstance(answer, Violation) else None


def variations(count: int) -> list[str]:
    return [users.plan_for(user, 0) for user in range(count)]


def form(plan: str) -> dict[str, Any]:
    return {"data": {"plan": plan}}


# --- document_segmenter --------------------------------------------------------------------------


def sentences(text: str) -> list[str]:
    document = segment(text)
    return [document.text[span.start : span.end] for span in document.sentences]


def test_abbreviations_and_figures_do_not_end_a_sentence() -> None:
    assert sentences(
        "La Dra. Pérez citó el art. 5 y la pág. 12. Se invertirán $ 1.250.000 en 2025. ¿Quién paga?"
    ) == [
        "La Dra. Pérez citó el art. 5 y la pág. 12.",
        "Se invertirán $ 1.250.000 en 2025.",
        "¿Quién paga?",
    ]


def test_a_number_sign_is_an_abbreviation_only_before_a_number() -> None:
    assert sentences(
        "El acuerdo No. 14 dice que no. Luego calla. J. Rojas vive en EE. UU. hoy."
    ) == [
        "El acuerdo No. 14 dice que no.",
        "Luego calla.",
        "J. Rojas vive en EE. UU. hoy.",
    ]


def test_headings_hard_line_ends_and_lists() -> None:
    document = segment(
        "PLAN DE DESARROLLO\r\n\r\n1.2 Mujeres\n\nUna línea\nque sigue.\n\n"
        "Se hará:\n- una casa\n- un\n  parque\n\nCAPÍTULO 3. Agua\n\nHay agua.\n\n\n"
    )
    assert document.sections == ("PLAN DE DESARROLLO", "1.2 Mujeres", "CAPÍTULO 3. Agua")
    assert [(document.text[p.start : p.end], p.section) for p in document.paragraphs] == [
        ("Una línea que sigue.", "1.2 Mujeres"),
        ("Se hará:", "1.2 Mujeres"),
        ("- una casa", "1.2 Mujeres"),
        ("- un parque", "1.2 Mujeres"),
        ("Hay agua.", "CAPÍTULO 3. Agua"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "1. Se construirá un puente sobre el río.",
        "1. Se construirá un puente sobre el\nrío.",
        "38 kilómetros de vías y\nun puente",
        "2024 fue un año de lluvias",
        "Parte de las vías está cerrada",
    ],
)
def test_a_sentence_that_begins_with_a_number_is_no_heading(text: str) -> None:
    assert segment(text).sections == ()


def test_a_heading_in_capitals_may_stand_right_above_its_text() -> None:
    document = segment("PLAN DE DESARROLLO\n2024-2027\nAGUA\nHay agua.\n# Suelo\nHay suelo.")
    assert document.sections == ("PLAN DE DESARROLLO",)
    assert segment("AGUA\nHay agua.\n\n# Suelo\nHay suelo.").sections == ("AGUA", "Suelo")


@pytest.mark.parametrize("name", PLANS)
def test_every_character_belongs_to_one_paragraph_and_one_sentence(name: str) -> None:
    document = segment(plans.load(name))
    joined = "\n".join(document.text[p.start : p.end] for p in document.paragraphs)
    assert joined == document.text
    for span in document.sentences:
        assert document.sentence_at(span.start) == document.sentence_at(span.end - 1) == span
        paragraph = document.paragraphs[document.paragraph_at(span.start)]
        assert paragraph.start <= span.start < span.end <= paragraph.end


def test_folding_keeps_offsets() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert len(fold(every)) == len(every)
    assert fold("MUÑOZ, pingüino, ÁÉÍÓÚ") == "muñoz, pinguino, aeiou"


# --- embedding_model -----------------------------------------------------------------------------


def test_an_embedding_is_a_unit_vector_that_knows_its_like() -> None:
    water = embed(fold("acueducto rural y agua potable"))
    assert cosine(water, water) == pytest.approx(1)
    assert cosine(water, embed(fold("El agua potable de los acueductos rurales"))) > 0.7
    assert abs(cosine(water, embed(fold("víctimas del conflicto armado")))) < 0.2
    assert embed("de la que en") == {}
    assert cosine({}, water) == 0


def test_a_heading_tells_what_a_passage_is_about() -> None:
    question = embed(fold("mujeres e igualdad de género"))
    bare = embed(fold("se creará una oficina"))
    headed = embed(fold("se creará una oficina"), fold("Mujeres y género"))
    assert cosine(question, headed) > cosine(question, bare)


# --- causal_pattern_detector ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "connector", "cause", "effect"),
    [
        (
            "La tasa subió porque no hay transporte.",
            "porque",
            "no hay transporte",
            "La tasa subió",
        ),
        (
            "Se pavimentará la vía, lo que permitirá sacar la cosecha.",
            "lo que permitirá",
            "Se pavimentará la vía",
            "sacar la cosecha",
        ),
        (
            "Debido a la sequía del verano, el río bajó de caudal.",
            "debido a",
            "la sequía del verano",
            "el río bajó de caudal",
        ),
        (
            "Con el fin de reducir la pobreza, se darán créditos.",
            "con el fin de",
            "se darán créditos",
            "reducir la pobreza",
        ),
        (
            "Falta agua; la tala del cerro contribuye al desgaste del suelo; nadie vigila.",
            "contribuye al",
            "la tala del cerro",
            "desgaste del suelo",
        ),
    ],
)
def test_cause_and_effect(sentence: str, connector: str, cause: str, effect: str) -> None:
    (link,) = find_causal_links(segment(sentence))
    assert link.value == {"connector": connector, "cause": cause, "effect": effect}


@pytest.mark.parametrize(
    "sentence", ["El sistema general de participaciones aporta lo suyo.", "¿Por qué? Porque sí."]
)
def test_no_cause_without_two_clauses(sentence: str) -> None:
    assert find_causal_links(segment(sentence)) == []


# --- monetary_detector ---------------------------------------------------------------------------


def bounds(found: list[Finding]) -> list[tuple[object, object]]:
    return [(finding.value["pesos_min"], finding.value["pesos_max"]) for finding in found]


@pytest.mark.parametrize(
    ("text", "pesos"),
    [
        ("Cuesta $1.250.000.000.", [1_250_000_000]),
        ("Cuesta $ 1'250.000.000, sin IVA.", [1_250_000_000]),
        ("Cuesta COP 3.400.000 y 350.000.000 de pesos más.", [3_400_000, 350_000_000]),
        ("Cuesta $ 1.250.000,50 al mes.", [1_250_000]),
        ("Hay 1.250.000 árboles.", []),
        ("Cuesta $ 1.200 millones.", []),
        ("Cuesta $ 1.200.000 millones.", []),
        ("Cuesta 1.200 millones de pesos.", []),
        ("Cuesta $1.2505.", []),
    ],
)
def test_version_one_reads_figures_and_leaves_scales_alone(text: str, pesos: list[int]) -> None:
    assert bounds(find_figures(segment(text))) == [(amount, amount) for amount in pesos]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cuesta $1.250.000.000.", [(1_250_000_000, 1_250_000_000)]),
        ("Cuesta 1.200 millones de pesos.", [(1_200_000_000, 1_200_000_000)]),
        ("Cuesta COP 350 millones.", [(350_000_000, 350_000_000)]),
        ("Cuesta 350 millones COP.", [(350_000_000, 350_000_000)]),
        ("Cuesta $ 2,5 billones.", [(2_500_000_000_000, 2_500_000_000_000)]),
        ("Cuesta 2,1 mil millones de pesos.", [(2_100_000_000, 2_100_000_000)]),
        ("Cuesta quinientos millones de pesos.", [(500_000_000, 500_000_000)]),
        ("Cuesta doscientos treinta y cinco mil pesos.", [(235_000, 235_000)]),
        ("Cuesta dos mil cuatrocientos millones de pesos.", [(2_400_000_000, 2_400_000_000)]),
        ("Cuesta mil millones de pesos.", [(1_000_000_000, 1_000_000_000)]),
        ("Cuesta un billón de pesos.", [(10**12, 10**12)]),
        ("Cuesta veintidós millones de pesos.", [(22_000_000, 22_000_000)]),
        ("Entre 300 y 450 millones de pesos.", [(300_000_000, 450_000_000)]),
        ("Entre $ 300 millones y $ 1,2 mil millones.", [(300_000_000, 1_200_000_000)]),
        ("De 950.000 a 2 millones de pesos.", [(950_000, 2_000_000)]),
        ("Entre cuatro y seis millones de pesos.", [(4_000_000, 6_000_000)]),
        ("Treinta y cinco millones de pesos.", [(35_000_000, 35_000_000)]),
        ("Entre treinta y cuarenta mil pesos.", [(30_000, 40_000)]),
        ("Entre mil y dos mil pesos.", [(1_000, 2_000)]),
        ("Cuesta cinco mil millones de pesos.", [(5_000_000_000, 5_000_000_000)]),
        ("Entre 2024 y 2027, $ 5 millones.", [(5_000_000, 5_000_000)]),
        ("Entre $ 1.000.000 y $ 2.000.000.", [(1_000_000, 2_000_000)]),
        ("Se sembrarán 3 millones de árboles entre 2024 y 2027.", []),
        ("Cien mil personas y 1.200 millones de euros.", []),
    ],
)
def test_version_two_reads_scales_words_and_ranges(
    text: str, expected: list[tuple[int, int]]
) -> None:
    assert bounds(find_amounts(segment(text))) == expected


# --- responsibility_detector ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "entities"),
    [
        ("La Secretaría de Salud será responsable del programa.", ["Secretaría de Salud"]),
        ("Estará a cargo de la Secretaría de Mujer y Familia.", ["Secretaría de Mujer y Familia"]),
        ("A cargo del Hospital Local San Rafael del Mar.", ["Hospital Local San Rafael del Mar"]),
        ("Responsable: Oficina de Gestión del Riesgo.", ["Oficina de Gestión del Riesgo"]),
        ("El Instituto de Vivienda ejecutará la obra.", ["Instituto de Vivienda"]),
        ("Será liderado por la Personería Municipal.", ["Personería Municipal"]),
        ("Será desarrollado por las entidades competentes.", []),
        ("La administración será responsable de todo.", []),
        ("La Secretaría de Salud celebró su aniversario.", []),
    ],
)
def test_responsible_entities(sentence: str, entities: list[str]) -> None:
    assert [f.value["entity"] for f in find_responsible(segment(sentence))] == entities


# --- feasibility_scorer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "quotes", "score"),
    [
        (
            "La línea base es del 38 %. Hay que elevar la cobertura al 62 % en 2027 con $ 200.000.",
            ("línea base es del 38 %", "elevar la cobertura al 62 %", "en 2027"),
            100,
        ),
        (
            "Meta: reducir la tasa de homicidios del 34 % al 22 %.",
            ("del 34 %", "reducir la tasa de homicidios del 34 % al 22 %", None),
            50,
        ),
        (
            "Meta: 600 niños atendidos antes de diciembre de 2026.",
            (None, "Meta: 600", "antes de diciembre de 2026"),
            50,
        ),
        ("En 2023 hubo 97 casos.", ("En 2023 hubo 97", None, None), 0),
        ("Se buscará mejorar la cobertura.", (None, None, None), 0),
        ("Se espera aumentar la cobertura hasta 2027.", (None, None, "hasta 2027"), 0),
    ],
)
def test_feasibility(text: str, quotes: tuple[str | None, ...], score: int) -> None:
    document = segment(text)
    (feasibility,) = score_feasibility(document, find_figures(document))
    found = (feasibility.baseline, feasibility.target, feasibility.deadline)
    assert tuple(finding and finding.quote for finding in found) == quotes
    assert feasibility.score == score


# --- contradiction_detector ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Se reducirá la deserción escolar al 3 % en 2027. Hay que reducir la deserción al 9 %. "
        "Vamos a reducir la deserción escolar al 6 % en 2027.",
        "Hay que aumentar el área de bosque al 20 % en 2025. Y reducir el área de bosque al 15 %.",
        "Se construirá el hospital nuevo en la plaza.\n\nNo se construirá el hospital nuevo aún.",
    ],
)
def test_contradictions(text: str) -> None:
    (contradiction,) = find_contradictions(segment(text))
    assert contradiction.kind == "contradiction"
    assert contradiction.value["first"] != contradiction.value["second"]


@pytest.mark.parametrize(
    "text",
    [
        "Reducir la deserción escolar al 6 % en 2025. Reducir la deserción escolar al 3 % en 2027.",
        "Reducir la deserción escolar al 3 % en 2027. Reducir la deserción escolar al 3% en 2027.",
        "Elevar la cobertura rural al 40 % en 2027. Elevar la cobertura urbana al 90 % en 2027.",
        "Se construirá el puente nuevo. No se construirá el coliseo nuevo.",
    ],
)
def test_a_path_or_another_indicator_is_no_contradiction(text: str) -> None:
    assert find_contradictions(segment(text)) == []


# --- teoria_cambio -------------------------------------------------------------------------------


def test_a_whole_chain_is_quoted_from_its_first_stage_to_its_last() -> None:
    (chain,) = find_chains(
        segment(
            "Con recursos propios se capacitarán madres; las familias atendidas harán bajar la "
            "tasa de desnutrición y crecer el bienestar."
        )
    )
    assert chain.finding is not None
    assert chain.finding.value == {
        "stages": ["insumos", "actividades", "productos", "resultados", "impactos"]
    }
    assert chain.finding.quote.startswith("recursos propios")
    assert chain.finding.quote.endswith("bienestar")


def test_a_gap_breaks_the_chain() -> None:
    (chain,) = find_chains(segment("El presupuesto traerá bienestar."))
    assert chain.stages == {"insumos", "impactos"}
    assert chain.finding is None
    assert longest_run({"insumos", "productos", "resultados"}) == ["productos", "resultados"]
    assert longest_run(()) == []


# --- evidence_registry ---------------------------------------------------------------------------


def test_the_same_quotation_is_one_record_in_two_places() -> None:
    document = segment("1. Agua\n\nUno.\n\nDos.\n\nTres.")
    said = [
        Finding("deadline", "en 2027", (2,), {}),
        Finding("deadline", "En 2027", (0,), {}),
        Finding("target", "en 2027", (1,), {}),
    ]
    deadline, target = register(document, said)
    assert (deadline.paragraphs, deadline.section, target.paragraphs) == ([0, 2], "1. Agua", [1])
    assert deadline.id == evidence_id(said[0]) == evidence_id(said[1]) != target.id


def test_an_id_depends_on_content_only() -> None:
    # Written down, so that a change of the ids between two releases cannot go unseen.
    assert evidence_id(Finding("deadline", "en 2027", (4,), {})) == "ev-06683c82d7a0e537"


# --- questionnaire_engine and pipeline_orchestrator ----------------------------------------------


def test_the_components_are_the_eleven_by_name() -> None:
    assert COMPONENTS == (
        "document_segmenter",
        "embedding_model",
        "causal_pattern_detector",
        "monetary_detector",
        "responsibility_detector",
        "feasibility_scorer",
        "contradiction_detector",
        "teoria_cambio",
        "questionnaire_engine",
        "evidence_registry",
        "pipeline_orchestrator",
    )


def test_there_are_three_questions_for_each_of_ten_rights() -> None:
    assert len(QUESTIONS) == len({question.id for question in QUESTIONS}) == 30
    assert sorted(question.right for question in QUESTIONS) == sorted(list(range(1, 11)) * 3)


def test_a_score_follows_from_the_text() -> None:
    text = (
        "1. Migración\n\nEn migración, la línea base de migrantes con regularización es del 40 %, "
        "porque el punto de acogida queda lejos y debido a la xenofobia del mercado. "
    )
    questions = {q.id: q for q in Pipeline().evaluate(text, 1).questions}
    assert questions["D10-1"].criteria == {"baseline": 100, "causes": 100, "coverage": 25}
    assert questions["D10-1"].score == 75
    assert len(questions["D10-1"].evidence) == 3
    assert questions["D10-2"].score == 0
    assert sum(q.score for q in questions.values() if q.right != 10) == 0


@pytest.mark.parametrize("text", ["# Solo un título", "!!!", "…", "9", "A\n\nB\n\nC"])
def test_a_text_without_content_scores_nothing(text: str) -> None:
    evaluation = IMPROVED.evaluate(text, 2)
    assert (evaluation.total.points, evaluation.evidence) == (0, [])
    assert breach(msgspec.json.encode(evaluation)) is None


@pytest.mark.parametrize("pipeline", [Pipeline(), IMPROVED])
def test_the_poor_plan_scores_clearly_lower(pipeline: Pipeline) -> None:
    good, fair, poor = (pipeline.evaluate(plans.load(name), 1).total.percent for name in PLANS)
    assert good > fair + 20
    assert fair > poor + 20


def test_the_poor_plan_contradicts_itself_and_pays_for_nothing() -> None:
    kinds = [record.kind for record in IMPROVED.evaluate(plans.load(POOR), 2).evidence]
    assert kinds.count("contradiction") == 2
    assert not {"amount", "responsible"} & set(kinds)


# --- version two against version one -------------------------------------------------------------


def amounts(evaluation: Evaluation) -> list[tuple[Any, Any]]:
    values = [record.value for record in evaluation.evidence if record.kind == "amount"]
    return [(value["pesos_min"], value["pesos_max"]) for value in values]


@pytest.mark.parametrize(("name", "first", "second"), [(GOOD, 12, 28), (FAIR, 5, 16), (POOR, 0, 0)])
def test_version_two_finds_more_money_and_loses_none(name: str, first: int, second: int) -> None:
    text = plans.load(name)
    one, two = amounts(Pipeline().evaluate(text, 1)), amounts(IMPROVED.evaluate(text, 2))
    assert (len(one), len(two)) == (first, second)
    assert set(one) <= set(two)


@pytest.mark.parametrize("name", PLANS)
def test_version_two_changes_nothing_but_what_money_touches(name: str) -> None:
    text = plans.load(name)
    one, two = Pipeline().evaluate(text, 1), IMPROVED.evaluate(text, 2)
    for kind in {record.kind for record in two.evidence} - {"amount"}:
        assert [r for r in one.evidence if r.kind == kind] == [
            r for r in two.evidence if r.kind == kind
        ]
    for before, after in zip(one.questions, two.questions, strict=True):
        assert after.passages == before.passages
        differing = {c for c in after.criteria if after.criteria[c] != before.criteria[c]}
        assert differing <= {"money", "feasibility"}
        assert after.score >= before.score
    assert (two.total.points > one.total.points) == (name != POOR)


# --- the app -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("name", PLANS)
def test_every_sound_answer_keeps_the_contract(name: str, version: int) -> None:
    app = create_app(version, fault="none" if version == 3 else None)
    response = post(app, plans.load(name))
    assert response.status_code == 200
    assert judge(response) is None
    assert response.json()["version"] == version
    assert response.json()["components"] == list(COMPONENTS)


def test_text_and_json_give_the_same_answer() -> None:
    app, text = create_app(2), plans.load(FAIR)
    assert post(app, text).content == ask(app, "POST", "/evaluate", json={"plan": text}).content


@pytest.mark.parametrize(
    ("content", "content_type", "status", "problem"),
    [
        (b"", "text/plain", 400, "the plan is empty"),
        (b" \n\t ", "text/plain", 400, "the plan is empty"),
        (b"\xff\xfe", "text/plain", 400, "not UTF-8"),
        (b"a" * (MAX_PLAN_BYTES + 1), "text/plain", 413, "too large"),
        (b'{"plan": ""}', "application/json", 400, "the plan is empty"),
        (b'{"text": "hola"}', "application/json", 400, "missing required field `plan`"),
        (b'{"plan": 5}', "application/json", 400, "Expected `str`"),
        (b"{", "application/json", 400, "not JSON"),
        (b'{"plan": "\xff"}', "application/json", 400, "not JSON"),
        (b'{"plan": "\\ud800"}', "application/json", 400, "not JSON"),
        (b"<p>hola</p>", "text/html", 415, "send text/plain or application/json"),
    ],
)
def test_bad_input_is_answered_clearly(
    content: bytes, content_type: str, status: int, problem: str
) -> None:
    response = ask(
        create_app(), "POST", "/evaluate", content=content, headers={"content-type": content_type}
    )
    assert response.status_code == status
    assert problem in response.json()["error"]


def test_the_largest_plan_is_still_evaluated() -> None:
    text = ("Se construirá el puente porque hace falta. " * 5000)[:MAX_PLAN_BYTES]
    assert judge(post(create_app(2), text.encode()[:MAX_PLAN_BYTES].decode())) is None


@pytest.mark.parametrize(
    "unit",
    [
        "1.234.",
        "$ ",
        "entre 1 y ",
        "mil ",
        "entre 1 y 2 pesos ",
        "porque ",
        "reducir a ",
        "Se ",
        "Dr. ",
        "a\n\n",
    ],
)
def test_no_text_makes_the_detectors_run_away(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    started = time.process_time()
    IMPROVED.evaluate(text, 2)
    assert time.process_time() - started < 60


def test_health_version_and_unknown_routes() -> None:
    app = create_app(2)
    assert ask(app, "GET", "/health").json() == {"status": "ok"}
    assert ask(app, "GET", "/version").json() == {"version": 2, "components": list(COMPONENTS)}
    missing, wrong = ask(app, "GET", "/nowhere"), ask(app, "GET", "/evaluate")
    assert (missing.status_code, missing.json()) == (404, {"error": "Not Found"})
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_versions_and_faults_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="must be 1, 2 or 3"):
        create_app(4)
    with pytest.raises(ValueError, match="only version 3 can be broken"):
        create_app(2, fault="slow")
    monkeypatch.setenv(FAULT_VARIABLE, "sloww")
    create_app(2)
    with pytest.raises(ValueError, match="fault is 'sloww'; it must be one of none, slow"):
        create_app(3)


def test_the_same_text_gives_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib, msgspec; from examples.evaluation_app import plans; "
        "from examples.evaluation_app.pipeline import IMPROVED; "
        "answers = [IMPROVED.evaluate(plans.load(name), 2) for name in plans.TITLES]; "
        "print(hashlib.sha256(msgspec.json.encode(answers)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(digests) == 1


# --- the faults of version three -----------------------------------------------------------------


def test_slow_is_right_but_late() -> None:
    app, text = create_app(3, fault="slow"), plans.load(POOR)
    started = time.perf_counter()
    response = post(app, text)
    assert time.perf_counter() - started >= 0.7
    assert judge(response) is None


def test_failing_fails_for_the_same_third_of_the_documents() -> None:
    app = create_app(3, fault="failing")
    statuses = [post(app, text).status_code for text in variations(60)]
    assert set(statuses) == {200, 500}
    assert 12 <= statuses.count(500) <= 28
    assert statuses[:9] == [post(app, text).status_code for text in variations(9)]


def test_contract_breaks_it_for_half_of_the_documents_and_is_caught() -> None:
    app = create_app(3, fault="contract")
    texts = variations(40)
    responses = [post(app, text) for text in texts]
    assert {response.status_code for response in responses} == {200}
    expected = {
        0: "/evaluate: evaluation: Expected `int` <= 100 at /questions/0/score (constraint)",
        1: "/evaluate: evaluation: Object missing required field `total` (required)",
    }
    verdicts = [judge(response) for response in responses]
    assert verdicts == [expected.get(lot(text, 4)) for text in texts]
    assert 10 <= sum(verdict is not None for verdict in verdicts) <= 30


def test_the_switch_can_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULT_VARIABLE, "failing")
    broken, sound = create_app(3), create_app(3, fault="none")
    texts = variations(12)
    assert 500 in [post(broken, text).status_code for text in texts]
    assert {post(sound, text).status_code for text in texts} == {200}


# --- the contract --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answer() -> bytes:
    return msgspec.json.encode(IMPROVED.evaluate(plans.load(GOOD), 2))


def spoilt(answer: bytes, path: tuple[str | int, ...], value: object) -> bytes:
    whole = place = msgspec.json.decode(answer)
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return msgspec.json.encode(whole)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("questions", 0, "score"), 101, "Expected `int` <= 100"),
        (("questions", 0, "score"), -1, "Expected `int` >= 0"),
        (("questions", 0, "score"), 0, "points of the rights are not the sums"),
        (("questions", 0, "id"), "D01-2", "two questions share an id"),
        (("questions", 0, "evidence"), ["ev-0000000000000000"], "not in the registry"),
        (("questions",), [], "Expected `array` of length >= 30"),
        (("rights", 3, "points"), 1, "points of the rights are not the sums"),
        (("rights", 3, "number"), 1, "points of the rights are not the sums"),
        (("total", "points"), 1, "the total is 1 of 3000"),
        (("total", "maximum"), 10, "of 10"),
        (("total", "percent"), 1.0, "the percentage is 1.0"),
        (("evidence", 0, "kind"), "rumour", "Invalid enum value"),
        (("evidence", 1, "id"), "7", "matching regex"),
        (("components",), ["one"], "of length >= 11"),
    ],
)
def test_the_contract_says_what_is_wrong(
    answer: bytes, path: tuple[str | int, ...], value: object, problem: str
) -> None:
    assert breach(answer) is None
    verdict = breach(spoilt(answer, path, value))
    assert verdict is not None
    assert problem in verdict


def test_two_records_may_not_share_an_id(answer: bytes) -> None:
    twice = msgspec.json.decode(answer)["evidence"]
    verdict = breach(spoilt(answer, ("evidence",), [*twice, twice[0]]))
    assert verdict == (
        "/evaluate: evaluation: two pieces of evidence share an id at /evidence (unique)"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null"])
def test_what_is_not_an_evaluation_breaks_the_contract(body: bytes) -> None:
    assert breach(body)


def test_the_contract_judges_only_successes_of_its_route(answer: bytes) -> None:
    assert breach(b"", [], 500) is None
    assert contracts_by_route(CONTRACTS)("/health", 200, [], b"") is NOT_ABOUT
    assert breach(answer, [(b"Content-Type", b"text/html")])
    assert breach(answer, [(b"Content-Type", b"application/json; charset=utf-8")]) is None


# --- the page ------------------------------------------------------------------------------------


def test_the_page_shows_a_sample_and_its_result() -> None:
    app = create_app(2)
    page = ask(app, "GET", "/", params={"sample": POOR})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert html.escape(plans.load(POOR)) in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    result = ask(app, "POST", "/", **form(plans.load(GOOD))).text
    percent = f"{IMPROVED.evaluate(plans.load(GOOD), 2).total.percent} %"
    assert f'<p class="total">{percent.replace(".", ",")}</p>' in result
    assert "Contradicción" not in result
    assert ask(app, "GET", "/", params={"sample": "../app"}).status_code == 404


def test_the_page_escapes_what_the_plan_says() -> None:
    attack = '"><script>alert(1)</script>'
    plan = (
        f"1. Mujeres {attack}\n\nLas mujeres y la igualdad de género importan porque {attack} "
        f"hay violencia contra las mujeres {attack}\n\n</textarea>{attack}"
    )
    text = ask(create_app(2), "POST", "/", **form(plan)).text
    assert "<script" not in text
    assert text.count("</textarea>") == 1
    assert text.count(html.escape(attack)) > 4


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        (b"", 400, "vacío"),
        (b"other=1", 400, "vacío"),
        (b"plan=+%0A", 400, "vacío"),
        (b"plan=%FF", 400, "UTF-8"),
        (b"\xff", 400, "UTF-8"),
        (b"plan=1" + b"&a=1" * 20, 400, "no es texto"),
        (b"plan=" + b"a" * (MAX_PLAN_BYTES + 1), 413, "demasiado largo"),
        (b"plan=" + b"a" * 4 * MAX_PLAN_BYTES, 413, "demasiado largo"),
    ],
)
def test_the_page_says_what_is_wrong_with_a_form(content: bytes, status: int, problem: str) -> None:
    response = ask(create_app(), "POST", "/", content=content)
    assert response.status_code == status
    assert problem in response.text
    assert 'role="alert"' in response.text


# --- the load sender -----------------------------------------------------------------------------


def test_arrivals_come_at_their_rate_and_can_be_repeated() -> None:
    first = list(users.arrivals(20, 60, 200, seed=1))
    assert first == list(users.arrivals(20, 60, 200, seed=1))
    assert first != list(users.arrivals(20, 60, 200, seed=2))
    assert 1000 < len(first) < 1400
    assert first == sorted(first)
    assert len({user for _, user in first}) > 190


def test_no_two_visits_send_the_same_text() -> None:
    sent = {users.plan_for(user, visit) for user in range(30) for visit in range(3)}
    assert len(sent) == 90


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost", True),
        ("http://localhost.example.org", False),
        ("http://192.0.2.1", False),
        ("127.0.0.1", False),
    ],
)
def test_loopback(url: str, expected: bool) -> None:
    assert users.is_loopback(url) is expected


def test_another_machine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        users.main(["--url", "http://192.0.2.1"])
    assert "--allow-remote" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        users.main(["--rate", "0"])


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The address of `app` under a uvicorn of its own, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def test_users_stop_when_their_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with served(create_app(2)) as url:
        assert users.main(["--url", url, "--rate", "20", "--seconds", "0.5"]) == 0
    due = len(list(users.arrivals(20, 0.5, 200, seed=1)))
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["all", str(due), "0"]


def test_users_stop_when_the_rollout_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["running", "rolled_back"])
    app = create_app(1)
    app.router.routes.append(
        Route(users.STATUS_PATH, lambda _request: JSONResponse({"state": next(states)}))
    )
    monkeypatch.setattr(users, "_SECONDS_BETWEEN_REPORTS", 0.2)
    started = time.perf_counter()
    with served(app) as url:
        assert users.main(["--url", url, "--rate", "5", "--seconds", "6000", "--until-done"]) == 0
    assert time.perf_counter() - started < PATIENCE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("; rollout running")
    assert lines[1].endswith("; rollout rolled_back")
    assert lines[2].startswith("arm ")


def test_what_a_user_sends_is_counted_by_arm() -> None:
    asked: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 3:
            raise httpx.ConnectError("refused")
        return httpx.Response(200 if len(asked) == 1 else 500, headers={"X-Canario-Arm": "canary"})

    async def three() -> users.Tally:
        tally = users.Tally()
        transport = httpx.MockTransport(respond)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for visit in range(3):
                await users.send(client, 7, visit, tally)
        return tally

    tally = asyncio.run(three())
    assert (tally.answers, tally.errors) == ({"canary": 2, "-": 1}, {"canary": 1, "-": 1})
    assert asked[0].headers["x-user-id"] == "user-7"
    assert [line.split()[:3] for line in tally.table().splitlines()[1:]] == [
        ["-", "1", "1"],
        ["canary", "2", "1"],
        ["all", "3", "2"],
    ]


@pytest.mark.parametrize(
    ("response", "expected", "finished"),
    [
        (httpx.Response(200, json={"state": "completed"}), {"state": "completed"}, True),
        (httpx.Response(200, json={"state": "running"}), {"state": "running"}, False),
        (httpx.Response(200, json=[1]), None, False),
        (httpx.Response(200, text="hola"), None, False),
        (httpx.Response(404), None, False),
    ],
)
def test_the_status_of_the_rollout(
    response: httpx.Response, expected: dict[str, str] | None, finished: bool
) -> None:
    async def look() -> dict[str, Any] | None:
        transport = httpx.MockTransport(lambda _request: response)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await users.status(client)

    rollout = asyncio.run(look())
    assert rollout == expected
    assert users.is_finished(rollout) is finished
