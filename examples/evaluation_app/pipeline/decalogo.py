"""The ten rights of the decalogue and the three questions asked about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from .embedding_model import embed
from .text import fold

if TYPE_CHECKING:
    from examples.evaluation_app.contract import Aspect

    from .embedding_model import Vector

__all__ = ["QUESTIONS", "RIGHTS", "AskedQuestion", "AskedRight"]


class AskedRight(Struct, frozen=True):
    """A right, and the words by which a passage about it is recognised."""

    number: int
    name: str
    vocabulary: str


class AskedQuestion(Struct, frozen=True):
    """A question about one aspect of a right; `vector` finds the passages that may answer it."""

    id: str
    right: int
    aspect: Aspect
    text: str
    vector: Vector


RIGHTS = (
    AskedRight(
        1,
        "Derechos de las mujeres e igualdad de género",
        "mujeres género igualdad violencia intrafamiliar feminicidio autonomía económica cuidado "
        "comisaría de familia casa de la mujer",
    ),
    AskedRight(
        2,
        "Prevención de la violencia y protección de la vida",
        "violencia homicidios seguridad convivencia conflicto armado reclutamiento minas "
        "extorsión protección de la vida",
    ),
    AskedRight(
        3,
        "Ambiente sano, cambio climático y gestión del riesgo",
        "ambiente río cuenca deforestación bosque cambio climático inundaciones gestión del "
        "riesgo desastres residuos sólidos microcuencas",
    ),
    AskedRight(
        4,
        "Derechos económicos, sociales y culturales",
        "salud educación vivienda acueducto agua potable saneamiento empleo pobreza vacunación "
        "deserción escolar cultura",
    ),
    AskedRight(
        5,
        "Derechos de las víctimas y construcción de paz",
        "víctimas reparación paz reconciliación memoria desplazamiento forzado retorno "
        "reubicación verdad",
    ),
    AskedRight(
        6,
        "Niñez, adolescencia y juventud",
        "niñez niños niñas adolescentes jóvenes juventud primera infancia desnutrición embarazo "
        "adolescente trabajo infantil",
    ),
    AskedRight(
        7,
        "Tierras y territorios",
        "tierras territorio predios titulación catastro campesinos rural vías terciarias "
        "formalización propiedad",
    ),
    AskedRight(
        8,
        "Líderes y defensores de derechos humanos",
        "líderes lideresas sociales defensores derechos humanos amenazas garantías juntas de "
        "acción comunal participación",
    ),
    AskedRight(
        9,
        "Personas privadas de la libertad",
        "personas privadas de la libertad cárcel estación de policía hacinamiento reclusión "
        "detenidos resocialización",
    ),
    AskedRight(
        10,
        "Migración y movilidad humana",
        "migrantes migración venezolanos refugiados frontera permiso regularización xenofobia "
        "movilidad humana acogida",
    ),
)

_ASPECTS: dict[Aspect, tuple[str, str]] = {
    "diagnosis": (
        "Sobre {}: ¿explica el plan la situación de partida, con línea base y causas?",
        "diagnóstico línea base causas tasa",
    ),
    "resources": (
        "Sobre {}: ¿asigna el plan recursos, un responsable con nombre y un plazo?",
        "inversión presupuesto responsable plazo",
    ),
    "change": (
        "Sobre {}: ¿encadena el plan acciones, metas y resultados sin contradecirse?",
        "meta resultado producto lograr",
    ),
}

QUESTIONS = tuple(
    AskedQuestion(
        id=f"D{right.number:02}-{number}",
        right=right.number,
        aspect=aspect,
        text=text.format(right.name[0].lower() + right.name[1:]),
        vector=embed(fold(f"{right.name} {right.vocabulary}"), fold(words)),
    )
    for right in RIGHTS
    for number, (aspect, (text, words)) in enumerate(_ASPECTS.items(), 1)
)
