# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines and queues: nothing is lost, everything is answered once, nobody waits for another."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.bootstrap import answer_init
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.job_queue import (
    STOPPING,
    Cancelled,
    Job,
    JobQueue,
    PendingReply,
)
from ansible_collections.opennebula.elastichosts.plugins.module_utils.drivers.protocol_loop import (
    Arguments,
    LineBuffer,
    ProtocolLoop,
    ReplyPipe,
    arguments,
)
from tests.unit.drivers.conftest import until


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 300), max_size=8))
def test_lines_are_the_same_however_the_bytes_arrive(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b" ") for line in lines]
    stream = b"".join(line + b"\n" for line in lines)
    points = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    buffer = LineBuffer()
    found = [line for start, end in zip(points, points[1:], strict=False) for line in buffer.feed(stream[start:end])]
    assert found == lines


def test_a_long_line_in_small_pieces_costs_linear_time() -> None:
    buffer = LineBuffer()
    for _unused in range(200_000):
        assert buffer.feed(b"x" * 50) == []
    (line,) = buffer.feed(b"\n")
    assert len(line) == 10_000_000


def pipe_with(content: bytes) -> int:
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    return read


@pytest.mark.parametrize(
    ("sent", "rest", "said"),
    [
        (b"INIT\n", b"", b"INIT SUCCESS\n"),
        (b"INIT\nDEPLOY 1 x y -\nPO", b"DEPLOY 1 x y -\nPO", b"INIT SUCCESS\n"),
        (b"FINALIZE\n", b"FINALIZE\n", b""),
        (b"", None, b""),
        (b"INI", None, b""),
    ],
)
def test_init_is_answered_and_nothing_else_is_lost_or_said(sent: bytes, rest: bytes | None, said: bytes) -> None:
    source = pipe_with(sent)
    read, write = os.pipe()
    assert answer_init(source, write) == rest
    os.close(write)
    assert os.read(read, 100) == said
    os.close(read)
    os.close(source)


class Listener:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.closed = False

    def accept(self, line: bytes) -> None:
        self.lines.append(line)

    def close(self) -> None:
        self.closed = True


def test_finalize_and_the_end_of_the_pipe_end_the_conversation() -> None:
    for ending in (b"FINALIZE\nDEPLOY 2\n", b""):
        listener = Listener()
        source = pipe_with(b"PLOY 1\n\n" + ending)
        ProtocolLoop(listener, source).serve(b"DE")
        os.close(source)
        assert (listener.lines, listener.closed) == ([b"DEPLOY 1"], True)


def test_an_outlet_whose_reader_is_gone_says_so_and_raises_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    outlet = ReplyPipe(write)
    outlet.send(b"DEPLOY SUCCESS 1 x\n")
    os.close(write)
    assert outlet.closed.is_set()


def test_a_line_longer_than_the_pipe_arrives_whole_between_others() -> None:
    read, write = os.pipe()
    outlet = ReplyPipe(write)
    senders = [threading.Thread(target=outlet.send, args=(bytes([65 + n]) * 200_000 + b"\n",)) for n in range(4)]
    for sender in senders:
        sender.start()
    received = b""
    while received.count(b"\n") < 4:
        received += os.read(read, 65536)
    for line in received.split(b"\n")[:4]:
        assert line == line[:1] * 200_000
    os.close(read)
    os.close(write)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], Arguments()),
        ([""], Arguments()),
        (["-t 15 -r 0 eh"], Arguments(threads=15)),
        (["-t", "3", "--generation", "I2"], Arguments(threads=3, protocol="4.0-4.2")),
        (["-t 15 --one-version 4.2.0 eh"], Arguments(threads=15, one_version="4.2.0")),
        (["--one-version=3.8 --generation=i1"], Arguments(one_version="3.8", protocol="2.0-3.8")),
        (["-t many 'unclosed"], Arguments()),
        (["-t 0"], Arguments()),
        (["-t 99999"], Arguments(threads=128)),
    ],
)
def test_arguments_come_as_one_word_or_none(argv: list[str], expected: Arguments) -> None:
    assert arguments(argv) == expected


class Answers:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def job(self, work: Callable[[Job], None]) -> Job:
        return Job(PendingReply(self.lines.append, lambda ok, text: f"{ok} {text}".encode()), work)


def test_jobs_of_one_vm_run_in_order_and_one_at_a_time() -> None:
    queue, answers, seen = JobQueue(8), Answers(), list[int]()
    busy = threading.Lock()

    def work(number: int) -> Callable[[Job], None]:
        def run(job: Job) -> None:
            with busy:
                seen.append(number)
                time.sleep(0.001)
            job.reply.send(True)

        return run

    for number in range(50):
        queue.submit(7, answers.job(work(number)))
    until(lambda: len(answers.lines) == 50, "all answers")
    queue.close(1)
    assert seen == list(range(50))


def test_whatever_a_job_does_there_is_one_answer() -> None:
    queue, answers = JobQueue(2), Answers()

    def raises(job: Job) -> None:
        raise ValueError("secret-in-a-message")

    def twice(job: Job) -> None:
        job.reply.send(True, "first")
        job.reply.send(False, "second")

    for number, work in enumerate((raises, twice, lambda job: None)):
        queue.submit(number, answers.job(work))
    until(lambda: len(answers.lines) == 3, "three answers")
    queue.close(1)
    texts = sorted(answers.lines)
    assert texts[2] == b"True first"
    assert b"ValueError" in texts[1] or b"ValueError" in texts[0]
    assert not any(b"secret" in text for text in texts)


def test_a_job_that_waits_gives_its_place_away() -> None:
    queue, answers = JobQueue(1), Answers()
    go = threading.Event()

    def waits(job: Job) -> None:
        clock = job.clock
        assert clock is not None
        while not go.is_set():
            clock.sleep(0.01)
        job.reply.send(True, "waited")

    queue.submit(1, answers.job(waits))

    def quick(job: Job) -> None:
        go.set()
        job.reply.send(True, "quick")

    queue.submit(2, answers.job(quick))
    until(lambda: len(answers.lines) == 2, "both answers")
    queue.close(1)
    assert answers.lines == [b"True quick", b"True waited"]


def test_cancelling_ends_the_wait_at_once() -> None:
    queue, answers = JobQueue(1), Answers()
    waiting = threading.Event()

    def waits(job: Job) -> None:
        waiting.set()
        with pytest.raises(Cancelled):
            assert job.clock is not None
            job.clock.sleep(60)
        job.reply.send(False, "given up")

    queue.submit(1, answers.job(waits))
    assert waiting.wait(5)
    queue.cancel(1)
    until(lambda: answers.lines == [b"False given up"], "the answer")
    queue.close(1)


def test_at_the_end_all_that_is_left_is_answered() -> None:
    queue, answers = JobQueue(1), Answers()
    stuck = threading.Event()

    def hangs(job: Job) -> None:
        stuck.wait(5)

    for number in range(5):
        queue.submit(number % 2, answers.job(hangs))
    queue.close(0.05)
    stuck.set()
    queue.submit(1, answers.job(lambda job: None))
    assert answers.lines == [f"False {STOPPING}".encode()] * 6
