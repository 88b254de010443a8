"""What would not fit is refused before it starts, with how many examples would."""

import pytest

from rethink.schema.errors import UserError
from rethink.theory import memory


@pytest.mark.parametrize("power, enough", [(1, "15,000"), (2, "30,000")])
def test_too_little_memory_is_one_line_that_says_how_many_examples_fit(monkeypatch, power, enough):
    assert memory.available_bytes() > 1e6
    monkeypatch.setattr(memory, "available_bytes", lambda: 2_000_000_000)
    memory.require_memory("A model", 2_000_000_000, 60_000, power=power)
    with pytest.raises(UserError) as error:
        memory.require_memory("A model", 8_000_000_000, 60_000, power=power)
    line = str(error.value)
    assert "\n" not in line and "A model of 60,000 examples needs 8.0 GB and 2.0 GB are available" in line
    assert f"data.train_examples to at most {enough}" in line
