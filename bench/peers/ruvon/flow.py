"""What a run on ruvon consists of; found by the engine under its module's name."""

from pydantic import BaseModel
from serving import effect


class Counter(BaseModel):
    """The state of a run."""

    value: int = 0


def increment(state, context, **_):
    """A step."""
    effect()
    return {"value": state.value + 1}


def definition(count):
    """A workflow of so many steps, each of which starts the next by itself."""
    step = {"type": "STANDARD", "function": "flow.increment", "automate_next": True}
    return {
        "type": f"steps-{count}",
        "initial_state_model_path": "flow.Counter",
        "automate_start": True,
        "steps": [{"name": f"s{number}", **step} for number in range(count)],
    }
