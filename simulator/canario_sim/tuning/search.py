"""The search: from a plan, conditions and goals to the best plan there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from canario import __version__
from canario.config import ConfigError
from canario.plan import Deployment, Plan
from canario_sim.lab.assessment import Described
from canario_sim.lab.executor import Answers, Progress, run_all
from canario_sim.lab.experiment import Condition, Experiment, Policy, Row
from canario_sim.lab.summary import characteristics
from canario_sim.lab.workers import Interruption, Workers, interruptible, processes

from . import held_out
from .choose import best, front, recommended
from .counted import Notes
from .goals import Goals
from .grid import Grid, Place
from .impossible import impossible
from .reasons import reasons
from .result import HeatMap, Point, Tuning
from .scores import Scored
from .shapes import as_it_is, shape_of, suggest
from .sums import Sums, Tally, Task, add_up, count

__all__ = ["Search", "tune"]

# Replications in one task: a task's result is kept in the file, and is not cut up again.
_PART = 20

# Shapes beside the present one that are rehearsed in full.
_FINALS = 2

# Shapes that are drawn at random before the optimiser has learnt enough to choose.
_AT_RANDOM = 5

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")


class Search(Struct, frozen=True, kw_only=True):
    """What is looked for, and how hard.

    Attributes:
        plan: The present plan; its stages, thresholds and judge are what may change.
        conditions: What a release may meet; good ones and bad ones.
        goals: What matters.
        grid: Candidates that share a trajectory; the present plan's values are added.
        slow_above_ms: A request that takes longer is bad, under every candidate; by default the
            present plan's own `max_p95_latency_ms`.
        trials: Other stages, holds and check intervals that are tried; 0 keeps the present ones.
        replications: Of each condition; every candidate meets the same. Other stages are first
            compared with the present ones on a quarter of them, and the best two on all.
        held_out: Of each condition afterwards, on other seeds, for the recommended plan.
        seed: Of all that is random.
        confidence: Of every interval.
    """

    plan: Plan
    conditions: tuple[Condition, ...]
    goals: Goals = Goals()
    grid: Grid = Grid()
    slow_above_ms: float | None = None
    trials: int = 8
    replications: int = 400
    held_out: int = 400
    seed: int = 1
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name, least in (("trials", 0), ("replications", 1), ("held_out", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} is {value!r}; it must be at least {least}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence!r}; it must lie between 0 and 1")
        kinds = {condition.kind for condition in self.conditions}
        for kind, what in (("healthy", "good"), ("regression", "bad")):
            if kind not in kinds:
                raise ValueError(
                    f"no condition is a {what} release; tuning weighs good and bad ones, so give "
                    "some of both"
                )
        names = [condition.name for condition in self.conditions]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"conditions has {min(twice)!r} twice; give each a name of its own")
        judge = self.plan.deployment.judge
        for name in ("promotion_alpha", "bin_seconds"):
            value = getattr(judge, name, None)
            if value is not None:
                raise ValueError(
                    f"deployment.judge.{name} is {value!r}; tuning does not try it, leave it out"
                )
        self._check_patience()

    def _check_patience(self) -> None:
        """Refuse latency limits that a request would be given up before it exceeds."""
        thresholds = self.plan.deployment.rollback_thresholds
        named = dict(thresholds.abandoned_after_by_route)
        if thresholds.abandoned_after_seconds is not None:
            named["abandoned_after_seconds"] = thresholds.abandoned_after_seconds
        least = min(named, key=named.__getitem__, default=None)
        largest = self.candidates.max_p95_latency_ms[-1]
        if least is not None and named[least] * 1000 < largest:
            raise ValueError(
                f"the plan gives requests up after {named[least]:g} s ({least}), before they "
                f"exceed {largest:g} ms, the largest max_p95_latency_ms of the grid; give a grid "
                f"whose latencies are at most {named[least] * 1000:g}"
            )

    @property
    def present(self) -> Deployment:
        """The present rollout, with a name."""
        own = self.plan.deployment
        return replace(own, deployment_id=own.deployment_id or "release")

    @property
    def first_look(self) -> int:
        """Replications on which the shapes are compared at first."""
        return -(-self.replications // 4)

    @property
    def slow_above(self) -> float:
        """The latency above which a request is bad, in ms."""
        own = self.plan.deployment.rollback_thresholds.max_p95_latency_ms
        return own if self.slow_above_ms is None else self.slow_above_ms

    @property
    def candidates(self) -> Grid:
        """The grid, with the present plan's values."""
        return self.grid.with_those_of(self.plan.deployment)

    @property
    def digest(self) -> str:
        """16 hex digits that tell this search, in this version of canario, from any other."""
        return _digest([__version__, self])


def tune(
    search: Search,
    workers: Workers | None = None,
    *,
    file: Path | None = None,
    progress: Callable[[Progress], object] | None = None,
    so_far: Callable[[Point | None, Progress], object] | None = None,
) -> Tuning | None:
    """Find the best plan.

    Args:
        search: What is looked for.
        workers: Who does the work; by default a process for each processor.
        file: What has been counted is appended to it as it comes; a later run of the same search
            takes it up. The result is the same.
        progress: Called as tasks are done.
        so_far: Called as of `replicate`, with the best plan of the shapes that have been rehearsed
            by then, if there is one.

    Returns:
        The result. After Ctrl-C what can be said by then, with `complete` False; None when that
        is nothing, because not even the present plan had been rehearsed often enough.

    Raises:
        ConfigError: When `file` is of another search, or cannot be read or written; when Optuna is
            missing.
        ValueError: When the search contradicts itself.
        KeyboardInterrupt: When Ctrl-C is pressed again, before the workers have stopped.
        BrokenExecutor: When workers keep dying; or whatever else `workers.lost` names.
    """
    with Notes(search.digest, file) as notes, interruptible() as interruption:
        crew = _Crew(search, notes, workers or processes(), interruption, progress, so_far)
        shapes = _shapes(search, crew)
        if not shapes:
            return None
        return _result(search, shapes, crew)


class _Crew:
    """Gets tasks done, and keeps what came of them."""

    def __init__(
        self,
        search: Search,
        notes: Notes,
        workers: Workers,
        interruption: Interruption,
        progress: Callable[[Progress], object] | None,
        so_far: Callable[[Point | None, Progress], object] | None,
    ) -> None:
        self._search = search
        self._so_far = so_far
        self._answers = Answers()
        # What has been scored by now, by shape.
        self.known: dict[object, _Shape] = {}
        self._notes = notes
        self._workers = workers
        self._interruption = interruption
        self._progress = progress
        first, whole = (
            len(_bounds(search, upto)) - 1 for upto in (search.first_look, search.replications)
        )
        finals = 1 + min(_FINALS, search.trials)
        self._planned = len(search.conditions) * (
            first * (search.trials + 1)
            + (whole - first) * finals
            + 2 * (len(_cuts(search.held_out)) - 1)
        )
        self._before = self._taken_up = 0
        self._made: set[str] = set()
        self._seconds = 0.0
        self.complete = True

    def skip(self, tasks: int) -> None:
        """So many tasks need not be done after all."""
        self._planned -= tasks

    def do(
        self, name: str, tasks: Sequence[T], work: Callable[[T], object], kind: type[R]
    ) -> list[R | None]:
        """The results of tasks; None for those that Ctrl-C was faster than."""
        decoder = msgspec.json.Decoder(kind)
        names = [f"{name}/{_digest(task)}" for task in tasks]
        # What this run has made already is no work any more, nor was it taken up from a file.
        fresh = [number for number, own in enumerate(names) if own not in self._made]
        there = [
            place
            for place, number in enumerate(fresh)
            if self._notes.get(names[number]) is not None
        ]
        self._taken_up += len(there)
        made = run_all(
            [tasks[number] for number in fresh],
            work,
            self._workers,
            interruption=self._interruption,
            on_result=lambda place, value: self._notes.put(names[fresh[place]], value),
            progress=self._tell,
            done=there,
        )
        self._made.update(names)
        self._before += len(fresh)
        self._seconds = self._now
        self.complete = self.complete and made.complete
        found = (self._notes.get(own) for own in names)
        return [None if content is None else decoder.decode(content) for content in found]

    _now = 0.0

    def _tell(self, progress: Progress) -> None:
        self._now = self._seconds + progress.seconds
        at = Progress(
            done=self._before + progress.done,
            planned=self._planned,
            taken_up=self._taken_up,
            seconds=self._now,
        )
        if self._progress is not None:
            self._progress(at)
        if self._so_far is not None and self._answers.due(at):
            self._so_far(_best(self._search, [shape.scored for shape in self.known.values()]), at)


R = TypeVar("R")


class _Shape(Struct, frozen=True):
    """A shape that was rehearsed, and how often that took."""

    scored: Scored
    rehearsals: int
    repeated: int


def _shapes(search: Search, crew: _Crew) -> list[_Shape]:
    """The present shape and the best of those that the optimiser finds, the present one first.

    After Ctrl-C those that are there, with as many replications as all of them have.
    """
    first = search.first_look
    known = crew.known
    present = _rehearsed(search, search.present, crew, first)
    if present is None:
        return []
    known[shape_of(search.present)] = present
    for deployment, tell in _suggested(search, present):
        shape = known.get(shape_of(deployment))
        if shape is None:
            shape = _rehearsed(search, deployment, crew, first)
            if shape is None:
                break
            known[shape_of(deployment)] = shape
        else:
            crew.skip(len(search.conditions) * (len(_bounds(search, first)) - 1))
        tell(shape.scored)
    price = _price(search, present.scored)
    others = list(known.values())[1:]
    ranked = sorted(others, key=lambda shape: best(shape.scored, price, search.present)[1])
    finals = [present, *ranked[:_FINALS]]
    missing = min(_FINALS, search.trials) + 1 - len(finals)
    more = len(_bounds(search, search.replications)) - len(_bounds(search, first))
    crew.skip(len(search.conditions) * missing * more)
    full = [
        _rehearsed(search, each.scored.deployment, crew, search.replications) for each in finals
    ]
    if any(shape is None for shape in full):
        return finals
    return [shape for shape in full if shape is not None]


def _suggested(
    search: Search, present: _Shape
) -> Iterator[tuple[Deployment, Callable[[Scored], None]]]:
    """What Optuna wants to be tried, one after the other, and how it is told what came of it.

    It minimises false rollbacks, exposure and duration of each shape's best candidate; a goal that
    is missed is a constraint that is broken.
    """
    if not search.trials:
        return
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ConfigError(
            "canario tune", "", f"needs {error.name}; install it with: pip install 'canario[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    price = _price(search, present.scored)

    sampler = optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=_AT_RANDOM)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=sampler)
    # The present shape is rehearsed anyway: what came of it is the first that the optimiser learns.
    study.enqueue_trial(as_it_is(search.present))
    for number in range(search.trials + 1):
        trial = study.ask()

        # This and `tell` are called before the loop goes on to another trial.
        def choose(name: str, values: tuple[float, ...]) -> float:
            chosen = trial.suggest_categorical(name, values)  # noqa: B023
            assert isinstance(chosen, float)
            return chosen

        deployment = suggest(search.present, choose)

        def tell(scored: Scored) -> None:
            _, place = recommended([scored], price, search.present)
            trial.set_constraint("shortfall", float(scored.shortfall[place]))  # noqa: B023
            study.tell(
                trial,  # noqa: B023
                [
                    float(part[place])
                    for part in (scored.false_rollback, scored.exposure, scored.duration)
                ],
            )

        if number == 0:
            tell(present.scored)
        else:
            yield deployment, tell


def _best(search: Search, each: Sequence[Scored]) -> Point | None:
    """The plan that is recommended of these shapes, the present one first."""
    if not each:
        return None
    number, place = recommended(each, _price(search, each[0]), search.present)
    return each[number].point(place)


def _price(search: Search, present: Scored) -> tuple[float, float]:
    """Exposure and duration of the present plan, which others are multiples of."""
    place = present.grid.find(search.present)
    assert place is not None  # its values were added
    return float(present.exposure[place]), float(present.duration[place])


def _rehearsed(
    search: Search, deployment: Deployment, crew: _Crew, replications: int
) -> _Shape | None:
    """All candidates of a shape on so many replications; None when Ctrl-C was faster."""
    grid = search.candidates
    conditions = [
        held_out.under(condition, deployment, grid.longest_window)
        for condition in search.conditions
    ]
    bounds = _bounds(search, replications)
    tasks = [
        Task(
            condition=condition,
            grid=grid,
            goals=search.goals,
            slow_above_ms=search.slow_above,
            seed=search.seed,
            first=first,
            last=last,
        )
        for condition in conditions
        for first, last in pairwise(bounds)
    ]
    tallies = crew.do(_digest(shape_of(deployment)), tasks, count, Tally)
    if any(tally is None for tally in tallies):
        return None
    each = [tally for tally in tallies if tally is not None]
    parts = len(bounds) - 1
    sums: list[Sums] = [
        add_up(each[number * parts : (number + 1) * parts], grid.shape)
        for number in range(len(conditions))
    ]
    scored = Scored(
        deployment, grid, conditions, sums, replications, search.goals, search.confidence
    )
    return _Shape(
        scored, sum(tally.rehearsals for tally in each), sum(tally.repeated for tally in each)
    )


def _result(search: Search, shapes: list[_Shape], crew: _Crew) -> Tuning:
    each = [shape.scored for shape in shapes]
    number, place = recommended(each, _price(search, each[0]), search.present)
    chosen = each[number].point(place)
    before = each[0].grid.find(search.present)
    assert before is not None  # its values were added
    present = each[0].point(before)
    experiment = Experiment(
        conditions=search.conditions,
        policies=(
            Policy(name="recommended", deployment=chosen.deployment),
            Policy(name="present", deployment=search.present),
        ),
        seed=search.seed,
    )
    rows = _held_out(search, experiment, crew)
    own = replace(chosen.deployment, deployment_id=search.plan.deployment.deployment_id)
    return Tuning(
        experiment=search.digest,
        seed=search.seed,
        replications=each[0].replications,
        held_out=search.held_out,
        confidence=search.confidence,
        complete=crew.complete,
        goals=search.goals,
        slow_above_ms=search.slow_above,
        conditions=tuple(
            Described(name=own.name, kind=own.kind, about=own.scenario.teaches)
            for own in search.conditions
        ),
        candidates=len(each[0].grid) * len(each),
        rehearsals=sum(shape.rehearsals for shape in shapes),
        repeated=sum(shape.repeated for shape in shapes),
        front=front(each, search.present),
        recommended=chosen,
        present=present,
        plan=replace(search.plan, deployment=own),
        reasons=tuple(reasons(each[number], place, present)),
        heat=_heat(each[number], place, before),
        characteristics=characteristics(experiment, rows, confidence=search.confidence),
        checks=tuple(held_out.checks(experiment, rows, search.goals, search.confidence)),
        impossible=tuple(
            impossible(search.conditions, each, chosen.deployment, search.goals, search.seed)
        ),
    )


def _held_out(search: Search, experiment: Experiment, crew: _Crew) -> list[Row]:
    """Both plans on the held-out seeds."""
    window = search.candidates.longest_window
    bounds = _cuts(search.held_out)
    trials = [
        held_out.Trial(
            condition=held_out.under(condition, policy.deployment, window),
            number=number,
            policy=place,
            deployment=policy.deployment,
            slow_above_ms=search.slow_above,
            seed=search.seed,
            first=first,
            last=last,
        )
        for place, policy in enumerate(experiment.policies)
        if policy.deployment is not None
        for number, condition in enumerate(search.conditions)
        for first, last in pairwise(bounds)
    ]
    chosen = [policy.deployment for policy in experiment.policies]
    made = crew.do(f"held out {_digest(chosen)}", trials, held_out.rehearse, list[Row])
    return [row for rows in made if rows is not None for row in rows]


def _heat(scored: Scored, place: Place, present: Place) -> HeatMap:
    rule, sample = place[:2]
    rows = scored.share("false_rollback")[rule, sample]
    caught = scored.share("detect")[rule, sample]
    return HeatMap(
        max_error_rate=scored.grid.max_error_rate,
        max_p95_latency_ms=scored.grid.max_p95_latency_ms,
        false_rollback=tuple(tuple(row) for row in rows.tolist()),
        detect=tuple(tuple(row) for row in caught.tolist()),
        replications=scored.replications,
        recommended=place[2:],
        present=present[2:],
    )


def _cuts(replications: int) -> list[int]:
    """Where so many replications are cut into tasks."""
    return [*range(0, replications, _PART), replications]


def _bounds(search: Search, replications: int) -> list[int]:
    """The same in the search, cut at the first look as well: what was counted for it is not
    counted again."""
    cuts = {*_cuts(search.replications), search.first_look}
    return sorted(cut for cut in cuts if cut <= replications)


def _digest(value: object) -> str:
    return blake2b(_encoder.encode(value), digest_size=8).hexdigest()
