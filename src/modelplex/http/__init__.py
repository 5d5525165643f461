"""Carry: HTTP/1.1 over TCP and Unix sockets, both sides."""
