"""What an optimizer keeps over a stop, and what follows from the machine."""

import pytest
import torch

from animatediff_ext.trainer.config import Optim
from animatediff_ext.trainer.optimizer import make_optimizer, restore_optimizer


def stepped(fused: bool) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = make_optimizer(Optim(), [parameter])
    optimizer.param_groups[0]["fused"] = fused or None
    parameter.grad = torch.arange(4.0)
    optimizer.step()
    return parameter, optimizer


@pytest.mark.parametrize(("was", "now"), [(False, True), (True, False)])
def test_a_state_of_another_device_goes_on_with_what_this_one_can(was, now):
    """On a GPU AdamW is fused, which is what makes it take the scale of fp16."""
    (source, before), (target, after) = stepped(was), stepped(now)
    restore_optimizer(after, before.state_dict(), Optim())
    assert after.param_groups[0]["fused"] == (now or None)
    torch.testing.assert_close(after.state[target]["exp_avg"], before.state[source]["exp_avg"])
    if now:
        after.grad_scale, after.found_inf = torch.tensor(2.0), torch.tensor(0.0)  # by GradScaler; plain AdamW refuses
        after.step()
        assert after.state[target]["step"] == 2


def test_a_state_of_another_model_is_refused():
    _, before = stepped(False)
    two = [torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))]
    with pytest.raises(ValueError, match="doesn't match"):
        restore_optimizer(make_optimizer(Optim(), two), before.state_dict(), Optim())
