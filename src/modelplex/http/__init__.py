"""Carry: HTTP/1.1 over TCP and Unix sockets, both sides."""

from modelplex.http.client import Client, ClientLimits, ClientResponse
from modelplex.http.errors import (
    BadMessage,
    BodyTimeout,
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
)
from modelplex.http.messages import Body, Data, Handler, Header, Request, Response
from modelplex.http.server import Server, ServerLimits, serve

__all__ = [
    "BadMessage",
    "Body",
    "BodyTimeout",
    "BodyTooLarge",
    "Client",
    "ClientLimits",
    "ClientResponse",
    "ConnectFailed",
    "ConnectionLost",
    "Data",
    "Handler",
    "Header",
    "Request",
    "Response",
    "Server",
    "ServerLimits",
    "serve",
]
