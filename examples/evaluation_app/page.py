"""The page for people: paste a plan, read its scores. Plain HTML, no script, everything escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .plans import TITLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .contract import Aspect, Evaluation, Evidence, Kind, Question, Right

__all__ = ["render"]

_ASPECTS: dict[Aspect, str] = {
    "diagnosis": "Diagnóstico",
    "resources": "Recursos",
    "change": "Cambio",
}
_KINDS: dict[Kind, str] = {
    "amount": "Monto",
    "baseline": "Línea base",
    "causal_link": "Causa y efecto",
    "chain": "Cadena de cambio",
    "contradiction": "Contradicción",
    "deadline": "Plazo",
    "responsible": "Responsable",
    "target": "Meta",
}

_PROBLEMS = {
    400: "El plan está vacío o no es texto que se pueda leer (UTF-8).",
    413: "El plan es demasiado largo.",
}

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --accent: #0b6e4f; --soft: #8881; }
@media (prefers-color-scheme: dark) { :root { --accent: #5fd3a9; } }
* { box-sizing: border-box; }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; }
label { display: block; font-weight: 600; margin: 1rem 0 .25rem; }
textarea { width: 100%; min-height: 14rem; font: inherit; padding: .75rem; border-radius: .5rem;
  border: 1px solid var(--line); }
button { font: inherit; font-weight: 600; margin-top: .75rem; padding: .6rem 1.4rem; border: 0;
  border-radius: .5rem; background: #0b6e4f; color: #fff; cursor: pointer; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
tbody th { font-weight: 500; }
.total { font-size: 2.4rem; font-weight: 700; color: var(--accent); margin: 0; }
.error { border-left: 4px solid #c0392b; padding: .5rem 1rem; background: var(--soft); }
details { border-bottom: 1px solid var(--line); padding: .4rem 0; }
summary { cursor: pointer; }
blockquote { margin: .4rem 0; padding-left: .8rem; border-left: 3px solid var(--line); }
.scroll { overflow-x: auto; } .scroll table { min-width: 32rem; }
.kind { font-size: .85rem; opacity: .8; }
"""

_PAGE = """<!doctype html>
<html lang="es">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluación de planes de desarrollo</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Evaluación de planes de desarrollo</h1>
<p>Treinta preguntas sobre diez derechos, con la evidencia de cada puntaje. Versión {version}.</p>
</header>
<main>
<form method="post" action="/">
<label for="plan">Texto del plan</label>
<textarea id="plan" name="plan" required lang="es">
{plan}</textarea>
<p>Ejemplos: {samples}</p>
<button type="submit">Evaluar</button>
</form>
{outcome}
</main>
</body>
</html>
"""


def render(
    version: int, plan: str = "", *, evaluation: Evaluation | None = None, status: int = 200
) -> str:
    """The whole page: the form filled with `plan`, and under it the result or what was wrong."""
    outcome = "" if evaluation is None else _result(evaluation)
    if status != 200:
        outcome = f'<p class="error" role="alert">{escape(_PROBLEMS[status])}</p>'
    samples = ", ".join(
        f'<a href="/?sample={name}">{escape(title)}</a>' for name, title in TITLES.items()
    )
    return _PAGE.format(
        style=_STYLE, version=version, plan=escape(plan), samples=samples, outcome=outcome
    )


def _result(evaluation: Evaluation) -> str:
    total, document = evaluation.total, evaluation.document
    evidence = {record.id: record for record in evaluation.evidence}
    answers = "\n".join(_answer(question, evidence) for question in evaluation.questions)
    return f"""<section aria-labelledby="result">
<h2 id="result">Resultado</h2>
<p class="total">{_decimal(total.percent)} %</p>
<p>{total.points} de {total.maximum} puntos; {document.words} palabras en {document.sections}
secciones; {len(evaluation.evidence)} evidencias.</p>
{_table(evaluation.rights, evaluation.questions)}
</section>
<section aria-labelledby="answers">
<h2 id="answers">Preguntas y evidencia</h2>
{answers}
</section>"""


def _decimal(value: float) -> str:
    return f"{value:.1f}".replace(".", ",")


def _table(rights: Iterable[Right], questions: list[Question]) -> str:
    heads = "".join(f'<th scope="col" class="number">{name}</th>' for name in _ASPECTS.values())
    return f"""<div class="scroll" role="region" aria-labelledby="scores" tabindex="0"><table>
<caption id="scores">Puntaje por derecho: cada aspecto vale de 0 a 100</caption>
<thead><tr><th scope="col">Derecho</th>{heads}<th scope="col" class="number">Suma</th></tr></thead>
<tbody>
{"".join(_row(right, [q for q in questions if q.right == right.number]) for right in rights)}
</tbody>
</table></div>"""


def _row(right: Right, questions: list[Question]) -> str:
    scores = {question.aspect: question.score for question in questions}
    cells = "".join(f'<td class="number">{scores[aspect]}</td>' for aspect in _ASPECTS)
    name = escape(f"{right.number}. {right.name}")
    return f'<tr><th scope="row">{name}</th>{cells}<td class="number">{right.points}</td></tr>\n'


def _answer(question: Question, evidence: dict[str, Evidence]) -> str:
    quotes = "".join(_quote(evidence[cited]) for cited in question.evidence)
    return f"""<details>
<summary>{question.score} · {escape(question.text)}</summary>
{quotes or "<p>El plan no ofrece evidencia.</p>"}
</details>"""


def _quote(record: Evidence) -> str:
    kind, section = escape(_KINDS[record.kind]), escape(record.section)
    return f"""<blockquote><span class="kind">{kind} · {section}</span><br>
{escape(record.quote)}</blockquote>"""
