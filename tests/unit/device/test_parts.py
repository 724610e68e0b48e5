"""The small parts: outbox, backoff, faults, pictures, tokens, addresses."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorlock.device.backoff import Backoff
from doorlock.device.faults import Fault, Faults, FaultSpec
from doorlock.device.image import grey_jpeg
from doorlock.device.mqtt_link import parse_mqtt_url
from doorlock.device.outbox import Outbox, Outgoing
from doorlock.device.tokens import read_token, read_tokens
from doorlock.errors import BadInput


def drained(outbox: Outbox) -> list[Outgoing]:
    items = []
    while item := outbox.head():
        outbox.discard(item)
        items.append(item)
    return items


class TestOutbox:
    def test_it_keeps_the_order(self) -> None:
        outbox = Outbox()
        for name in ("a", "b", "c"):
            outbox.push(Outgoing(name, {}))
        assert [item.event for item in drained(outbox)] == ["a", "b", "c"]

    def test_the_oldest_motion_goes_first_then_pictures_then_the_rest(self) -> None:
        outbox = Outbox(limit=5)
        names = ["bell-pressed", "snapshot", "motion_detected", "command_ack", "motion_detected"]
        for number, name in enumerate(names):
            outcome = "c1" if name == "command_ack" else None
            outbox.push(Outgoing(name, {"n": number}, outcome_of=outcome))
        dropped = [outbox.push(Outgoing("low_battery", {"n": 9})) for _ in range(5)]
        assert [(d.event, d.data["n"]) for d in dropped if d] == [
            ("motion_detected", 2),
            ("motion_detected", 4),
            ("snapshot", 1),
            ("bell-pressed", 0),
            ("low_battery", 9),
        ]

    @given(st.lists(st.sampled_from(["motion_detected", "snapshot", "bell-pressed", "outcome"])))
    def test_no_outcome_is_ever_dropped(self, names: list[str]) -> None:
        outbox = Outbox(limit=3)
        for name in names:
            outbox.push(Outgoing(name, {}, outcome_of="c" if name == "outcome" else None))
        left = [item.event for item in drained(outbox)]
        assert left.count("outcome") == names.count("outcome")
        assert len(left) <= max(3, names.count("outcome"))


class TestBackoff:
    @given(st.integers(0, 5000), st.integers())
    def test_it_stays_under_its_cap(self, attempt: int, seed: int) -> None:
        delay = Backoff(base=0.5, cap=30).delay(attempt, random.Random(seed))
        assert 0 <= delay <= min(30, 0.5 * 2 ** min(attempt, 10))

    def test_it_is_jittered_over_the_whole_span(self) -> None:
        dice = random.Random(1)
        delays = [Backoff(base=0.5, cap=30).delay(10, dice) for _ in range(500)]
        assert min(delays) < 2
        assert max(delays) > 28

    def test_a_refusal_waits_long(self) -> None:
        delays = [Backoff(refused=60).delay_after_refusal(random.Random(s)) for s in range(50)]
        assert min(delays) >= 45
        assert len(set(delays)) > 1


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "spec"),
        [
            ("jam", FaultSpec(Fault.JAM)),
            ("slow", FaultSpec(Fault.SLOW, 3.0)),
            ("slow=0.5", FaultSpec(Fault.SLOW, 0.5)),
            ("late-ack=60:0.25", FaultSpec(Fault.LATE_ACK, 60.0, 0.25)),
            ("silent:0.1", FaultSpec(Fault.SILENT, 0.0, 0.1)),
            ("skewed-clock=-30", FaultSpec(Fault.SKEWED_CLOCK, -30.0)),
        ],
    )
    def test_how_they_are_written(self, text: str, spec: FaultSpec) -> None:
        assert FaultSpec.parse(text) == spec

    @pytest.mark.parametrize(
        "text",
        ["", "jamm", "jam=3", "slow=fast", "jam:2", "jam:-1", "slow=nan", "slow=inf", "slow=-1"],
    )
    def test_how_they_are_not(self, text: str) -> None:
        with pytest.raises(BadInput, match="is not a fault") as caught:
            FaultSpec.parse(text)
        assert "reboot-in-the-middle" in str(caught.value.hint)

    def test_a_seed_makes_them_reproducible(self) -> None:
        specs = [FaultSpec(Fault.JAM, probability=0.5), FaultSpec(Fault.SLOW, 1, 0.5)]
        ids = [f"c{n}" for n in range(40)]
        first, second, other = (Faults(specs, seed) for seed in (7, 7, 8))
        rolled = [first.of(i) for i in ids]
        assert rolled == [second.of(i) for i in ids]
        assert rolled != [other.of(i) for i in ids]
        assert {len(faults) for faults in rolled} == {0, 1, 2}

    def test_a_command_keeps_its_fate(self) -> None:
        faults = Faults([FaultSpec(Fault.JAM, probability=0.5)], 3)
        fate = [Fault.JAM in faults.of("c1") for _ in range(30)]
        assert len(set(fate)) == 1


def segments(jpeg: bytes) -> dict[int, bytes]:
    found, at = {}, 2
    while jpeg[at + 1] != 0xDA:
        size = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        found[jpeg[at + 1]] = jpeg[at + 4 : at + 2 + size]
        at += 2 + size
    found[0xDA] = jpeg[at + 10 : -2]
    return found


@pytest.mark.parametrize("level", [0, 127, 128, 160, 255])
def test_a_picture_has_its_size_and_its_level(level: int) -> None:
    jpeg = grey_jpeg(17, 9, level)
    parts = segments(jpeg)
    assert jpeg[:2] + jpeg[-2:] == b"\xff\xd8\xff\xd9"
    assert struct.unpack(">HH", parts[0xC0][1:5]) == (9, 17)
    scan = parts[0xDA].replace(b"\xff\x00", b"\xff")
    bits = "".join(f"{byte:08b}" for byte in scan)
    size = int(bits[:4], 2)
    value = int(bits[4 : 4 + size] or "0", 2)
    if size and value < 1 << (size - 1):
        value -= (1 << size) - 1
    assert value + 128 == level
    blocks = 3 * 2
    used = 4 + size + 1 + 5 * (blocks - 1)
    assert len(bits) - used < 8
    assert set(bits[used:]) <= {"1"}


class TestTokens:
    def test_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.touch(0o600)
        file.write_text("5e5e\n")
        assert read_token(file) == "5e5e"

    def test_from_stdin(self) -> None:
        assert read_token(Path("-"), stdin=io.StringIO("5e5e\n")) == "5e5e"

    @pytest.mark.parametrize("text", ["", "\n", "two words"])
    def test_nothing_usable(self, text: str) -> None:
        with pytest.raises(BadInput, match="no single token"):
            read_token(Path("-"), stdin=io.StringIO(text))

    def test_a_file_that_others_can_read(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text("5e5e")
        file.chmod(0o644)
        with pytest.raises(BadInput, match="read by others") as caught:
            read_token(file)
        assert "5e5e" not in caught.value.message

    def test_many_from_json(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens"
        file.touch(0o600)
        file.write_text('{"a": "1", "b": "2"}')
        assert read_tokens(file) == {"a": "1", "b": "2"}
        for wrong in ("[]", "{", '{"a": 1}'):
            file.write_text(wrong)
            with pytest.raises(BadInput, match="not a JSON object"):
                read_tokens(file)


class TestMqttAddress:
    @pytest.mark.parametrize(
        ("url", "parts"),
        [
            ("mqtt://broker", ("broker", 1883, False)),
            ("mqtts://broker", ("broker", 8883, True)),
            ("mqtt://[::1]:99", ("::1", 99, False)),
        ],
    )
    def test_good(self, url: str, parts: tuple[str, int, bool]) -> None:
        assert parse_mqtt_url(url) == parts

    @pytest.mark.parametrize("url", ["", "broker", "http://x", "mqtt://u:p@x", "mqtt://x:port"])
    def test_bad(self, url: str) -> None:
        with pytest.raises(BadInput):
            parse_mqtt_url(url)
