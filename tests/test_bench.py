"""The benchmark runs and counts rightly. How fast it is, no test says: that depends on the machine."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.plans import Living
from bench.soak import Sample, Soak, judge

ROOT = Path(__file__).parents[1]


async def test_the_smoke_run_measures_everything_and_counts_rightly(tmp_path: Path) -> None:
    """Every part of `make bench` runs; what was posted was stored, and all of it came through."""
    report = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.run",
        "--quick",
        "--json",
        str(report),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(570):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert 0 == process.returncode, output.decode()
    figures: dict[str, Any] = json.loads(report.read_text())
    sizes = figures["sizes"]

    assert "on" == figures["machine"]["fsync"]
    receive = figures["receive"]
    assert 500 + sizes["rounds"] * sizes["webhooks"] == receive["accepted"] == receive["events_stored"]
    assert receive["ratio"]["median"] > 0

    for way in ("backlog", "live"):
        through = figures["provisional"][way]
        assert sizes["backlog"] == sum(through["events_by_state"].values()) == through["events"]
        assert through["records"] > 0
        assert 0 == through["exact_records"], "without an API nothing is exact"

        through = figures["exact"][way]
        assert sum(through["events_by_state"].values()) == through["events"] > 0
        assert through["records"] == through["exact_records"] > 0
        # Each object that an event names is read once at least, and bursts of events are read together.
        assert 0 < through["api_calls_per_1000_events"]["median"] < 1000
        assert through["api_calls_per_1000_events"]["median"] == pytest.approx(
            sum(through["calls_of_each_per_1000"].values())
        )

    renewals = figures["renewals"]
    assert sizes["renewals"] == renewals["records"] == renewals["exact_records"]
    assert 0 == renewals["wrong"]
    assert renewals["events"] > 5 * sizes["renewals"]
    # Each is read with its neighbours: by their ids it would take three hundred calls.
    assert 0 < renewals["api_calls_per_1000_events"]["median"] < 150

    for latency in ("latency", "latency_exact"):
        found = figures[latency]
        assert round(sizes["rate"] * sizes["seconds"] / 2) == found["probes"] == found["probes_seen"]
        assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert "receive, accepted/s" in output.decode()

    instant, delayed = figures["backfill"]
    assert (0.0, sizes["backfill_latency_ms"]) == (instant["latency_ms"], delayed["latency_ms"])
    for found in (instant, delayed):
        assert found["objects"] >= found["objects_listed"] > sizes["backfill_customers"]
        # A hundred objects a page; of a small account most windows end with a page that is not full.
        assert found["stored"]["pages_per_1000_listed"]["min"] >= 10
        assert found["stored"]["worker_memory_bytes"]["max"] < 200 * 2**20
        assert found["ratio"]["median"] > 0

    (found,) = figures["limits"]["mixed"]
    assert sizes["limits_workers"] == [found["workers"]]
    # How many were refused depends on the machine; what the limiter lets pass, tests/runtime/test_limiter.py tells.
    assert found["refused"].keys() <= {"global-rate", "endpoint-rate"}
    assert 0 < found["api_calls_per_1000_events"] < 1000
    assert found["records"] > 0

    for wanted, found in zip(sizes["growth"], figures["growth"], strict=True):
        assert wanted / 2 < found["customers"] < 2 * wanted
        assert found["through"]["per_second"] > 0
        assert found["derived"]["per_second"] > 0
        assert found["receive"]["per_second"] > 0
        assert found["worker_memory_bytes"] < 200 * 2**20
        assert all(each["pages"] >= 0 for each in found["statements"].values())
        for cost in found["checks"].values():
            assert cost["per_second"] > 0
            assert sizes["growth_ask_rates"] == [each["rate"] for each in cost["at_rates"]]
            assert all(0 < each["p50_ms"] <= each["p99_ms"] for each in cost["at_rates"])

    soak = figures["soak"]
    assert soak["held"], [each for each in soak["checks"] if each["holds"] is False]
    assert 0 == soak["drift"] == soak["parked"]
    assert soak["objects_compared"] > 0
    assert soak["living"]["events"] > soak["living"]["dropped"]
    assert soak["living"]["posted"] >= soak["samples"][-1]["posted"] > 0
    assert all(each["connections"] > 1 and each["worker_bytes"] > 0 for each in soak["samples"])


def test_the_verdict_of_a_soak() -> None:
    """Each line fails for its own reason, and memory and lag only after a soak that is long enough to tell."""
    steady = [sample(minute=minute) for minute in range(61)]
    assert [] == failed(steady)
    # Warming up is no leak: only the second half counts.
    assert [] == failed([sample(minute=minute, worker_mib=min(minute, 30)) for minute in range(61)])
    assert ["memory of worker is flat"] == failed(
        [sample(minute=minute, worker_mib=minute) for minute in range(61)]
    )
    assert ["memory of web is flat"] == failed(
        [sample(minute=minute, web_mib=minute) for minute in range(61)]
    )
    assert ["the lag does not grow"] == failed(
        [sample(minute=minute, lag_seconds=minute) for minute in range(61)]
    )
    assert ["every webhook is accepted at once"] == failed(steady, living=Living(posted=9, attempts=10))
    assert ["nothing is parked"] == failed(steady, parked=1)
    assert ["no alarm stands"] == failed(steady, alarms=("late: by an hour",))
    assert ["no drift"] == failed(steady, drift=1)
    assert ["no drift"] == failed(steady, objects_compared=0)
    short = [sample(minute=minute, worker_mib=99 * minute, lag_seconds=99 * minute) for minute in range(3)]
    assert [] == failed(short, seconds=180.0)


def sample(*, minute: float, web_mib: float = 0, worker_mib: float = 0, lag_seconds: float = 0) -> Sample:
    """The system at a minute of a soak."""
    return Sample(
        seconds=60 * minute,
        posted=0,
        pending=0,
        lag_seconds=lag_seconds,
        parked=0,
        unconfirmed=0,
        connections=9,
        web_bytes=75_000_000 + int(web_mib * 2**20),
        worker_bytes=75_000_000 + int(worker_mib * 2**20),
    )


def failed(samples: list[Sample], *, seconds: float = 3_600.0, **found: Any) -> list[str]:
    """What does not hold of a soak in which this was found."""
    known: dict[str, Any] = {"objects_compared": 1} | found
    soaked = Soak(seconds=seconds, rate=20.0, samples=samples, **known)
    return [check.what for check in judge(soaked) if check.holds is False]
