from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fashion_pipeline.index.payload import payload_for
from fashion_pipeline.index.reconcile import Difference, DifferenceKind, WantedPoint, differences, reconcile
from fashion_pipeline.index.store import VectorStore
from fashion_pipeline.index.types import Payload
from fashion_pipeline_tests.index.making import id_of, point, points, row_of

KIND = DifferenceKind


def wanted(numbers: range, **changes: object) -> list[WantedPoint]:
    found = []
    for number in numbers:
        payload = payload_for(row_of(number, **changes))
        found.append(
            WantedPoint(id_of(number), payload["payload_hash"], payload["image_sha256"], payload["store_id"])
        )
    return sorted(found)


def test_each_planted_kind_is_found_exactly(store: VectorStore, name: str) -> None:
    store.upsert(name, points(30))
    agreed = reconcile(store, name, wanted(range(30)))
    assert agreed.agrees
    assert (agreed.wanted, agreed.points, agreed.sample) == (30, 30, ())
    assert agreed.counts == {kind.value: 0 for kind in KIND}

    store.delete(name, [id_of(3), id_of(4)])
    store.upsert(name, [point(40), point(41)])
    store.set_payload(name, {id_of(5): payload_for(row_of(5, price=1))})
    store.upsert(name, [point(6, image_sha256="f" * 64)])
    store.upsert(name, [point(42)])
    store.set_payload(name, {id_of(42): {"by": "someone else"}})
    # A lost hash on a point that should be there is a payload to write again, not a stranger.
    kept = {key: value for key, value in point(7).payload.items() if key != "payload_hash"}
    store.set_payload(name, {id_of(7): kept})

    told: list[Difference] = []
    report = reconcile(store, name, wanted(range(30)), on_difference=told.append, sample=3)
    assert {(found.kind, found.id, found.store_id) for found in told} == {
        (KIND.MISSING, id_of(3), "store-0"),
        (KIND.MISSING, id_of(4), "store-1"),
        (KIND.ORPHANED, id_of(40), "store-1"),
        (KIND.ORPHANED, id_of(41), "store-2"),
        (KIND.STALE_PAYLOAD, id_of(5), "store-2"),
        (KIND.STALE_PAYLOAD, id_of(7), "store-1"),
        (KIND.STALE_VECTOR, id_of(6), "store-0"),
        (KIND.FOREIGN, id_of(42), None),
    }
    assert [found.id for found in told] == sorted(found.id for found in told)
    assert report.counts == {"missing": 2, "orphaned": 2, "stale_vector": 1, "stale_payload": 2, "foreign": 1}
    assert report.by_store["store-0"] == {"missing": 1, "stale_vector": 1}
    assert report.by_store[""] == {"foreign": 1}
    assert report.sample == tuple(told[:3])
    assert (report.wanted, report.points, report.differences) == (30, 31, 8)
    assert not report.agrees

    one = [found for found in wanted(range(30)) if found.store_id == "store-0"]
    of_store = reconcile(store, name, one, store_id="store-0")
    assert (of_store.wanted, of_store.points) == (10, 9)
    assert of_store.counts == {
        "missing": 1,
        "orphaned": 0,
        "stale_vector": 1,
        "stale_payload": 0,
        "foreign": 0,
    }


def test_an_empty_collection_and_an_empty_catalogue(store: VectorStore, name: str) -> None:
    assert reconcile(store, name, []).agrees
    assert reconcile(store, name, wanted(range(3))).counts["missing"] == 3
    store.upsert(name, points(3))
    assert reconcile(store, name, iter([])).counts["orphaned"] == 3


@pytest.mark.parametrize("numbers", [[2, 1], [1, 1]])
def test_streams_out_of_order_are_refused(numbers: list[int]) -> None:
    left = [WantedPoint(UUID(int=number), "h", "i", "s") for number in numbers]
    with pytest.raises(ValueError, match="what should be there is not sorted"):
        list(differences(left, []))
    right: list[tuple[UUID, Payload]] = [(UUID(int=number), {}) for number in numbers]
    with pytest.raises(ValueError, match="the collection is not sorted"):
        list(differences([], right))


SIDE = st.dictionaries(st.integers(0, 12), st.tuples(st.sampled_from("ab"), st.sampled_from("xy")))


@given(SIDE, SIDE)
def test_the_merge_equals_a_comparison_by_dictionaries(
    should: dict[int, tuple[str, str]], are: dict[int, tuple[str, str]]
) -> None:
    left = [WantedPoint(UUID(int=key), *should[key], "s") for key in sorted(should)]
    right: list[tuple[UUID, Payload]] = [
        (UUID(int=key), {"payload_hash": are[key][0], "image_sha256": are[key][1], "store_id": "s"})
        for key in sorted(are)
    ]
    expected = {}
    for key in should.keys() | are.keys():
        if key not in are:
            expected[UUID(int=key)] = KIND.MISSING
        elif key not in should:
            expected[UUID(int=key)] = KIND.ORPHANED
        elif should[key][1] != are[key][1]:
            expected[UUID(int=key)] = KIND.STALE_VECTOR
        elif should[key][0] != are[key][0]:
            expected[UUID(int=key)] = KIND.STALE_PAYLOAD
    assert {found.id: found.kind for found in differences(left, right)} == expected


def test_memory_is_bounded() -> None:
    """Neither stream is read ahead of the other by more than one."""
    read = [0, 0]

    def left() -> object:
        for number in range(1000):
            read[0] += 1
            yield WantedPoint(UUID(int=number), "h", "i", "s")

    def right() -> object:
        for number in range(1000):
            read[1] += 1
            yield UUID(int=number), {"payload_hash": "h", "image_sha256": "i" if number % 2 else "j"}

    for found in differences(left(), right()):  # type: ignore[arg-type]
        assert found.kind is KIND.STALE_VECTOR
        assert abs(read[0] - read[1]) <= 1
    assert read == [1000, 1000]
