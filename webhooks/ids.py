"""Ids in the paths of routes: whatever stands there is read as an id, and refused with the reason if it can be none."""

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request

from webhooks.answers import Refusal


class IdConvertor(Convertor[str]):
    """`{name:id}` in the path of a route: any text, with slashes and ends of lines.

    The path is decoded before it is matched, so that `%2f` is a slash. A route that matched none would answer that
    nothing is here, and not what is wrong.
    """

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """As it is: `id_in_path` judges it, once the token was checked."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("id", IdConvertor())


def id_in_path(request: Request, name: str) -> str:
    """The id in the path of a request. Raises Refusal for one that can be nobody's: 422."""
    given: str = request.path_params[name]
    wrong = [f"has {each!r}" for each in "/\\?#%" if each in given]
    if not given or given in (".", ".."):
        wrong = [f"is {given!r}"]
    elif not given.isprintable() or "\ufffd" in given:
        wrong = ["has a character that cannot be shown"]
    if wrong:
        raise Refusal(422, f"the id in the path {wrong[0]}, as no id of Stripe's or ours")
    return given
