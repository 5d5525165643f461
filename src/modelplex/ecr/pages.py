"""One page of a sorted list of keys, and the token for the next one."""

from __future__ import annotations

from typing import Any

from modelplex.aws import tokens
from modelplex.aws.errors import InvalidParameterException

PAGE_DEFAULT = 100  # as ECR's


def page(
    keys: list[str], request: dict[str, Any], question: object
) -> tuple[list[str], dict[str, str]]:
    """The keys that a request's token and maxResults choose, and {"nextToken": …} if more follow.

    What is added or removed between two pages repeats and hides none of the others.
    Raises InvalidParameterException for a token of another question.
    """
    if token := request.get("nextToken"):
        last = tokens.read(token, question)
        if last is None:
            raise InvalidParameterException(
                "Invalid parameter at 'nextToken': it is not of an answer to this question."
            )
        keys = [key for key in keys if key > last]
    limit = request.get("maxResults", PAGE_DEFAULT)
    chosen = keys[:limit]
    return chosen, {"nextToken": tokens.give(question, chosen[-1])} if len(keys) > limit else {}
