"""Secure aggregation: FedAvg's model, a server that sees one row, and what colluders take out of it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench.federation.engine import Federation
from bench.protocol import Setting
from bench.threat import RoundTranscript, server_view
from defenses.fedavg import FedAvg
from defenses.secure_aggregation import SecureAggregation, secure_aggregation

Make = Callable[..., Federation]


def test_all_that_arrives_is_the_sum() -> None:
    messages = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert secure_aggregation(messages).tolist() == [[12.0, 15.0, 18.0]]
    with pytest.raises(ValueError, match="messages"):
        secure_aggregation(torch.zeros(0, 3))


def test_the_channel_opens_one_row_and_names_nobody() -> None:
    delivered = SecureAggregation().deliver(torch.randn(5, 3), torch.Generator())
    assert delivered.messages.shape == (1, 3)
    assert not delivered.linked


@pytest.mark.parametrize("messages", ["always", "as_needed"])
def test_it_trains_fedavgs_model(messages: str, make_federation: Make, final_model: Callable[..., Tensor]) -> None:
    """With an attacker too: a forged message counts as much, and nothing stands against it."""
    for attack, byzantine in ((None, 0.0), (SignFlip(), 0.2)):
        given = {"dtype": "float64", "participation": 0.5, "messages": messages}
        sealed = final_model(make_federation(SecureAggregation(), attack, byzantine, **given))
        plain = final_model(make_federation(FedAvg(), attack, byzantine, **given))
        torch.testing.assert_close(sealed, plain, rtol=0, atol=1e-12)
        assert float(sealed.abs().max()) > 0.01


def played(make_federation: Make) -> RoundTranscript:
    return make_federation(SecureAggregation(), dtype="float64").play()


def test_the_server_sees_no_more_of_a_target_than_the_mean_of_all(make_federation: Make) -> None:
    transcript = played(make_federation)
    view = server_view(transcript, torch.tensor([3, 7]))
    assert view.hidden_among.tolist() == [20, 20]
    torch.testing.assert_close(view.estimate, (transcript.updates.mean(dim=0) / 20).expand(2, -1))


def test_colluders_take_their_own_messages_out_and_the_last_one_stands_bare(make_federation: Make) -> None:
    """12 colluders leave the mean of 8; all 19 others leave the target's own message, p_k times its update."""
    transcript, targets = played(make_federation), torch.tensor([3])
    some = torch.zeros(1, 20, dtype=torch.bool)
    some[0, 8:] = True
    view = server_view(transcript, targets, some)
    assert view.hidden_among.tolist() == [8]
    torch.testing.assert_close(view.estimate[0], transcript.updates[:8].mean(dim=0) / 20)
    everybody = torch.ones(1, 20, dtype=torch.bool)
    everybody[0, 3] = False
    view = server_view(transcript, targets, everybody)
    assert view.hidden_among.tolist() == [1]
    torch.testing.assert_close(view.estimate[0], transcript.updates[3] / 20)


def test_it_claims_no_differential_privacy_and_no_robustness(make_setting: Callable[..., Setting]) -> None:
    assert SecureAggregation().claim(make_setting()) is None
    assert not SecureAggregation.claims_privacy()
    assert not SecureAggregation().tolerates(0.05, make_setting())
