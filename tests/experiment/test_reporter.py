"""The header of a run: what is said of the model and of what regularizes it."""

from rethink.configs import base
from rethink.experiment import reporter


def test_the_header_shows_the_fields_of_the_model_and_its_own_dropout():
    config = base.get_config()
    assert reporter._describe_model(config.model) == "mlp_1x512"
    config.model.name, config.model.kwargs.width = "my_net:MyNet", 256
    assert reporter._describe_model(config.model) == "my_net:MyNet(width=256)"
    assert reporter._describe_regularizers(config, []) == ""
    assert reporter._describe_regularizers(config, ["dropout", "noise"]) == "the model's own dropout"
