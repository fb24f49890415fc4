"""The catalogue of stories, filled by the other modules of this package."""

from collections.abc import Callable

from sandbox.stories.stage import Plot, Story

STORIES: dict[str, Story] = {}


def story(
    *, covers: tuple[str, ...] = (), defines: tuple[str, ...] = (), customers: int = 1
) -> Callable[[Plot], Plot]:
    """Enter a plot into the catalogue under its function's name; its docstring is the story in one sentence.

    `covers` names cases of docs/cases.md, `defines` rows of the definitions, `customers` how many customers it creates.
    """

    def enter(plot: Plot) -> Plot:
        name = plot.__name__
        if name in STORIES:
            raise ValueError(f"two stories are called {name}")
        STORIES[name] = Story(
            name=name,
            sentence=(plot.__doc__ or "").strip(),
            covers=covers,
            defines=defines,
            customers=customers,
            plot=plot,
        )
        return plot

    return enter
