"""Lanes: invocations between gateway and instance, many at once over one Unix socket.

A lane is one connection of a gateway to an instance. Requests and answers are frames of the same
form that go between an instance and its workers (`runtime/frames.py`), tied together by a number,
so that neither side parses HTTP twice, and what comes in one turn of an event loop leaves in one
system call. `wire` says what is in a frame, `lane` is the gateway's end, `landing` the instance's.
"""
