"""The crasher: worlds, an undisturbed twin of each, and a line that is struck again and again, then compared."""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from fashion_pipeline.errors import FashionPipelineError
from fashion_pipeline_tests.crash.faults import FAKETIME, FAULTS, STAGES, Fault, Place
from fashion_pipeline_tests.crash.ground import Ground
from fashion_pipeline_tests.crash.side import Outcome, Runners, Side
from fashion_pipeline_tests.crash.state import State, differences, shown
from fashion_pipeline_tests.crash.watch import Moment
from fashion_pipeline_tests.crash.world import Step, World

#: Faults of one partition before it is run undisturbed and compared.
MOST_FAULTS = 3


class Difference(AssertionError):
    """The line did not end as its twin did; the message has seed, step and what differs."""


@dataclass(frozen=True)
class Strike:
    """A fault that was done: where, and what became of the run."""

    world: str
    step: Step
    fault: str
    stage: str
    moment: str
    ended: str


@dataclass
class Report:
    """What a crasher's run did."""

    seed: int
    strikes: list[Strike] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    #: Planned faults whose moment did not come, because the run had less to do.
    missed: int = 0
    worlds: int = 0
    runs: int = 0
    compared: int = 0
    facts: int = 0
    vectors: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TwinStep:
    """What the undisturbed line did in a step, and had when it was done."""

    outcome: Outcome
    state: State


class Crasher:
    """Strikes until `kills` faults hit, or `seconds` are over; `faults` are names of `FAULTS`."""

    def __init__(
        self,
        seed: int,
        kills: int,
        *,
        faults: Sequence[str] = tuple(FAULTS),
        stores: int = 2,
        days: int = 3,
        seconds: float = float("inf"),
        say: Callable[[str], None] = print,
    ) -> None:
        self.kills = kills
        self.faults = [FAULTS[name] for name in faults]
        self.stores, self.days = stores, days
        self.report = Report(seed)
        self._seconds = seconds
        self._say = say

    def run(self) -> Report:
        """Do it.

        Raises:
            Difference: the line and its twin differ.
        """
        began = time.monotonic()
        self._ends = began + self._seconds
        with Ground() as ground, ExitStack() as stack:
            self._ground = ground
            self._clock = ground.folder / "clock"
            self._clocked = self._clocked_runners(stack)
            with suppress(KeyboardInterrupt):  # what was done until then is reported
                while not self._is_done():
                    self._world(self.report.worlds + 1)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _is_done(self) -> bool:
        return len(self.report.strikes) >= self.kills or time.monotonic() > self._ends

    def _clocked_runners(self, stack: ExitStack) -> Runners | None:
        if FAKETIME is None or FAULTS["clock"] not in self.faults:
            return None
        self._clock.write_text("+0\n")
        clocked = Runners(
            {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        )
        stack.callback(clocked.close)
        return clocked

    def _world(self, number: int) -> None:
        ground, name = self._ground, f"{self.report.seed}.{number}"
        world, shared = ground.world(name, stores=self.stores, days=self.days)
        with ground.side("twin", world, shared) as side:
            twin = {step: self._undisturbed(side, step) for step in world.steps}
            self._no_garbage(side, name)
        # It remembers what the twin asked for.
        ground.web.serve(shared)
        with ground.side("struck", world, shared) as side:
            place = Place(side, ground.web, self._clocked, self._clock)
            self._struck(place, name, world, twin)
        self.report.worlds += 1
        shutil.rmtree(shared)

    def _undisturbed(self, side: Side, step: Step) -> TwinStep:
        outcome = side.run(step)
        self.report.runs += 1
        assert outcome.told is not None, side.log()
        failing = side.failing_pictures(step)
        assert not failing, f"{failing} pictures of the undisturbed twin failed in a way that passes"
        if step.day == side.world.days[0]:
            assert outcome.success, f"a first day is never refused: {outcome.failures}"
        return TwinStep(outcome, side.observe())

    def _struck(self, place: Place, name: str, world: World, twin: dict[Step, TwinStep]) -> None:
        dice = random.Random(f"{name} faults")
        for step in world.steps:
            for fault, moment, seed in self._plan(place, dice, twin[step]):
                if self._is_done():
                    break
                self._strike(place, name, step, fault, moment, random.Random(seed))
            self._again(place, name, step, twin[step])
            if self._is_done():
                break
        self._no_garbage(place.side, name)

    def _plan(
        self, place: Place, dice: random.Random, undisturbed: TwinStep
    ) -> list[tuple[Fault, Moment, str]]:
        """Faults in the order of their stages, each at a moment that the twin's run had."""
        possible = []
        for fault in self.faults:
            reason = fault.needs(place)
            if reason is None:
                possible.append(fault)
            else:
                self.report.skipped[fault.name] = reason
        assert undisturbed.outcome.told is not None
        counts = undisturbed.outcome.told["counts"]
        planned = []
        for _ in range(dice.randint(1, MOST_FAULTS)):
            (fault,) = dice.choices(possible, [each.weight for each in possible])
            stages = [stage for stage in fault.stages or STAGES if counts.get(stage)]
            fraction, hold, seed = dice.random(), dice.random() < 0.5, f"{dice.random()}"
            if stages:
                stage = dice.choice(stages)
                planned.append((fault, Moment(stage, 1 + int(fraction * counts[stage]), hold), seed))
        return sorted(planned, key=lambda each: STAGES.index(each[1].stage))

    def _strike(
        self, place: Place, name: str, step: Step, fault: Fault, moment: Moment, dice: random.Random
    ) -> None:
        outcome = fault.strike(place, step, moment, dice)
        self.report.runs += 1
        place.web.start()
        where = f"seed {self.report.seed}, world {name}, step {step}, fault {fault.name} at {moment}"
        if outcome.orphans:
            raise Difference(f"{where}: long after the run these live: {outcome.orphans}")
        if outcome.moment is None:
            self.report.missed += 1
            return
        if outcome.told is None:
            ended = "given up" if outcome.given_up else "lost"
        else:
            ended = "succeeded" if outcome.success else "failed"
        self.report.strikes.append(Strike(name, step, fault.name, moment.stage, outcome.moment, ended))
        told = " ".join("; ".join(f"{key}: {value}" for key, value in outcome.failures.items()).split())[:160]
        self._say(
            f"{len(self.report.strikes):>4} {name} {step} {fault.name:<11} {moment.stage} "
            f"{moment.number} ({outcome.moment}): {ended} {told}"
        )

    def _again(self, place: Place, name: str, step: Step, undisturbed: TwinStep) -> None:
        """Run the partition once more, undisturbed, and compare."""
        side = place.side
        outcome = side.run(step)
        self.report.runs += 1
        where = f"seed {self.report.seed}, world {name}, step {step}"
        if side.failing_pictures(step):
            # As the runbook says of pictures that failed while their server was away.
            side.retry_pictures(step)
            outcome = side.run(step)
            self.report.runs += 1
        if outcome.failures != undisturbed.outcome.failures or outcome.success != undisturbed.outcome.success:
            raise Difference(
                f"{where}: the run after the faults gave {outcome.failures or outcome}, the twin's "
                f"{undisturbed.outcome.failures or undisturbed.outcome}\n{self._history(name, step)}\n{side.log()}"
            )
        try:
            state = side.observe()
        except FashionPipelineError as error:
            raise Difference(f"{where}: {error}\n{self._history(name, step)}") from error
        found = differences(undisturbed.state, state)
        if found:
            raise Difference(
                f"{where}: {len(found)} differences\n{shown(found)}\n{self._history(name, step)}"
            )
        self.report.compared += 1
        self.report.facts += len(state.facts)
        self.report.vectors += len(state.vectors)

    def _history(self, name: str, step: Step) -> str:
        struck = [each for each in self.report.strikes if (each.world, each.step) == (name, step)]
        return "\n".join(f"  {each.fault} in {each.stage} at {each.moment}: {each.ended}" for each in struck)

    def _no_garbage(self, side: Side, name: str) -> None:
        left = side.garbage()
        if left:
            raise Difference(f"seed {self.report.seed}, world {name}: nothing collects {left}")
