"""Updates in the forms that training loops have, as rows and back: nothing is lost, and nothing copied without need."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.exchange.forms import copied_bytes, rows_of


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        weight=torch.randn(3, 4, generator=generator).to(dtype),
        bias=torch.randn(3, generator=generator).to(dtype),
        batches=torch.tensor(seed),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_matrix_is_taken_as_it_is(dtype: torch.dtype) -> None:
    given = torch.randn(5, 7, dtype=dtype)
    rows, form = rows_of(given)
    assert rows.data_ptr() == given.data_ptr()
    assert copied_bytes(given) == 0
    vector = rows[2]
    assert form.restored(vector).data_ptr() == vector.data_ptr()
    assert copied_bytes(list(given)) == given.numel() * given.element_size()


def test_a_numpy_matrix_shares_its_memory_and_gives_numpy_back() -> None:
    given = np.arange(12, dtype=np.float32).reshape(3, 4)
    given.flags.writeable = False
    rows, form = rows_of(given)
    assert np.shares_memory(rows.numpy(), given)
    back = form.restored(rows[1])
    assert isinstance(back, np.ndarray)
    assert back.tolist() == [4, 5, 6, 7]
    turned, _ = rows_of(given[::-1])  # strides that torch has not
    assert turned[0].tolist() == [8, 9, 10, 11]


def test_state_dicts_come_back_by_name_shape_and_type() -> None:
    given = [state(seed) for seed in range(4)]
    rows, form = rows_of(given)
    assert rows.shape == (4, 15)
    for row, one in zip(rows, given, strict=True):
        assert torch.equal(row, torch.cat([one["weight"].flatten(), one["bias"]]))
    back = form.restored(rows[3])
    assert list(back) == ["weight", "bias", "batches"]
    assert torch.equal(back["weight"], given[3]["weight"])
    assert back["weight"].data_ptr() == rows[3].data_ptr()
    assert back["batches"] == 1  # of 0, 1, 2, 3 the lower one in the middle: no rule is defined for counts


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_tensors_stay_on_their_device() -> None:
    given = [{name: layer.cuda() for name, layer in state(seed).items()} for seed in range(4)]
    rows, form = rows_of(given)
    assert rows.is_cuda
    assert all(layer.is_cuda for layer in form.restored(rows[0]).values())
    assert rows_of(rows)[0].data_ptr() == rows.data_ptr()


def test_a_device_is_kept_where_no_numbers_are_computed() -> None:
    """Torch's device without memory stands for any that is not the CPU."""
    given = torch.empty(4, 9, device="meta")
    rows, form = rows_of(given)
    assert rows is given or rows.device == given.device
    assert form.restored(torch.empty(9, device="meta")).device.type == "meta"
    layers = [{"w": torch.empty(2, 3, device="meta"), "b": torch.empty(3, device="meta")} for _ in range(4)]
    rows, form = rows_of(layers)
    assert rows.shape == (4, 9)
    assert rows.device.type == "meta"
    assert form.restored(rows[0])["w"].device.type == "meta"


def test_lists_and_tuples_of_arrays_come_back_as_what_they_were() -> None:
    layers = [[np.full((2, 2), float(k)), np.full(3, float(k), dtype=np.float32)] for k in range(3)]
    rows, form = rows_of(layers)
    assert rows.dtype == torch.float64
    back = form.restored(rows[2])
    assert isinstance(back, list)
    assert [one.dtype for one in back] == [np.float64, np.float32]
    assert back[0].shape == (2, 2)
    assert isinstance(rows_of([tuple(one) for one in layers])[1].restored(rows[0]), tuple)


def test_small_number_types_are_computed_in_float32_and_given_back() -> None:
    given = [state(seed, torch.bfloat16) for seed in range(3)]
    rows, form = rows_of(given)
    assert rows.dtype == torch.float32
    assert torch.equal(rows[0][:12].view(3, 4), given[0]["weight"].float())
    assert form.restored(rows[0])["bias"].dtype == torch.bfloat16
    half = torch.ones(2, 3, dtype=torch.float16)
    assert rows_of(half)[1].restored(torch.ones(3)).dtype == torch.float16


def test_names_in_another_order_are_the_same_layers() -> None:
    one, other = state(0), dict(reversed(state(1).items()))
    rows, _ = rows_of([one, other])
    assert torch.equal(rows[1], torch.cat([other["weight"].flatten(), other["bias"]]))


def test_gradients_histories_are_left_behind() -> None:
    given = torch.ones(2, 3, requires_grad=True)
    assert not rows_of(given)[0].requires_grad
    assert not rows_of([given[0], given[1]])[0].requires_grad


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "updates is empty"),
        ("updates", "updates is a str"),
        (torch.ones(3), r"torch.float32 of shape \(3,\)"),
        (torch.ones(3, 2, dtype=torch.int64), "torch.int64"),
        (torch.ones(0, 2), r"\(0, 2\)"),
        ([1.0, 2.0], "update 0 is a float"),
        ([{"a": torch.ones(2)}, {"b": torch.ones(2)}], "update 1 has not the layers of the first update: a, b differ"),
        ([{"a": torch.ones(2)}, {"a": torch.ones(3)}], r"update 1 has shape \(3,\) in layer 'a', the first update"),
        ([torch.ones(2), torch.ones(3)], r"update 1 has shape \(3,\), the first update \(2,\)"),
        ([{"n": torch.tensor(1)}], "holds no real numbers"),
        ([np.array(["a"])], "holds no numbers that torch has"),
    ],
)
def test_what_is_no_update_is_told_in_one_sentence(given: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        rows_of(given)
