"""Decision transformer: windows, what sees what, memory in acting, and the return asked for."""

from typing import Any

import numpy as np
import pytest
import torch

from fenchel.offline_rl.algorithms import DecisionTransformer
from fenchel.offline_rl.algorithms.decision_transformer import Block, Dropout, Window, visible
from fenchel.offline_rl.datasets import OfflineDataset


def trajectories(seed: int = 0, lengths: tuple[int, ...] = (3, 6, 2)) -> OfflineDataset:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    states = rng.normal(size=(n, 2))
    return OfflineDataset(
        observations=states,
        actions=rng.uniform(-1, 1, size=(n, 1)),
        rewards=np.arange(1.0, n + 1),
        next_observations=states,
        terminals=np.zeros(n, bool),
        timeouts=np.isin(np.arange(n), np.cumsum(lengths) - 1),
    )


def made(**changes: Any) -> DecisionTransformer:
    setting: dict[str, Any] = {
        "context": 4, "width": 16, "n_layers": 2, "n_heads": 2, "max_length": 10,
        "learning_rate": 1e-2, "warmup_steps": 1, "return_scale": 10.0, "seed": 0, "device": "cpu",
    }  # fmt: skip
    return DecisionTransformer(**setting | changes)


def fitted(n_steps: int = 5, **changes: Any) -> DecisionTransformer:
    return made(**changes).fit(trajectories(), n_steps, batch_size=8, progress=False)


def test_windows_end_with_their_row_and_are_padded_on_the_left() -> None:
    agent, data = fitted(), trajectories()
    steps = agent._prepare(data)
    window = steps.window(torch.tensor([2, 7]), 4)
    np.testing.assert_array_equal(window.valid, [[False, True, True, True], [True] * 4])
    np.testing.assert_allclose(window.returns[0], [0, 0.6, 0.5, 0.3])  # of rewards 1, 2, 3
    np.testing.assert_allclose(window.returns[1, -1], (8 + 9) / 10)
    np.testing.assert_array_equal(window.times, [[0, 0, 1, 2], [1, 2, 3, 4]])
    np.testing.assert_allclose(window.actions[0, :, 0], [0, *data.actions[:3, 0]], rtol=1e-6)
    np.testing.assert_allclose(window.actions[1], data.actions[4:8], rtol=1e-6)
    for name, part in window._asdict().items():
        assert not part[0, 0].any(), name


def window_of(agent: DecisionTransformer, rows: list[int]) -> Window:
    return agent._prepare(trajectories()).window(torch.tensor(rows), 4)


def test_later_tokens_are_not_seen() -> None:
    """Outputs up to t have no gradient in a_t, and in nothing of later steps."""
    agent = fitted()
    model = agent.networks["model"].eval()
    window = window_of(agent, [8])
    inputs = Window(
        window.returns.requires_grad_(),
        window.observations.requires_grad_(),
        window.actions.requires_grad_(),
        window.times,
        window.valid,
    )
    for t in range(4):
        mean, log_std = model(inputs)
        gradients = torch.autograd.grad(
            mean[0, t].sum() + log_std[0, t].sum(),
            [inputs.returns, inputs.observations, inputs.actions],
        )
        seen = [g.reshape(4, -1).abs().sum(dim=1) > 0 for g in gradients]
        np.testing.assert_array_equal(seen[0], np.arange(4) <= t)
        np.testing.assert_array_equal(seen[1], np.arange(4) <= t)
        np.testing.assert_array_equal(seen[2], np.arange(4) < t)


def test_a_block_gives_the_tokens_that_are_wanted() -> None:
    generator = torch.Generator().manual_seed(0)
    block, x = Block(8, 2, Dropout(0.0, generator)), torch.randn(3, 12, 8, generator=generator)
    mask = visible(torch.tensor([[True] * 4, [False, True, True, True], [False] * 3 + [True]]))
    torch.testing.assert_close(block(x, mask, slice(1, None, 3)), block(x, mask)[:, 1::3])


def test_padding_has_no_part_in_anything() -> None:
    agent = fitted(dropout=0.0)
    window = window_of(agent, [1, 2])
    valid = window.valid
    changed = Window(
        torch.where(valid, window.returns, 7.0),
        torch.where(valid[..., None], window.observations, -3.0),
        torch.where(valid[..., None], window.actions, 0.4),
        torch.where(valid, window.times, 5),
        valid,
    )
    changed.observations.requires_grad_()
    model = agent.networks["model"].eval()
    for found, expected in zip(model(changed), model(window), strict=True):
        torch.testing.assert_close(found[valid], expected[valid])
        (gradient,) = torch.autograd.grad(
            found[valid].sum(), changed.observations, retain_graph=True
        )
        assert not gradient[~valid].any()
        assert gradient[valid].abs().sum() > 0


def test_acting_reads_what_training_reads() -> None:
    """Actions taken in turn are those of the model for the window of what has happened."""
    agent = fitted(target_return=12.0)
    rng = np.random.default_rng(1)
    seen, taken = rng.normal(size=(6, 2)).astype(np.float32), []
    state, to_go = None, []
    for t in range(6):
        to_go.append(12.0 - t)
        action, state = agent.predict(seen[t], state)
        taken.append(action)
        state = agent.receive(state, 1.0)
    window = Window(
        torch.tensor(to_go[2:])[None] / 10,
        agent._normalised(torch.tensor(seen[2:]))[None],
        torch.tensor(np.array(taken[2:]))[None],
        torch.arange(2, 6)[None],
        torch.ones(1, 4, dtype=torch.bool),
    )
    mean, _ = agent.networks["model"].eval()(window)
    np.testing.assert_allclose(
        torch.tanh(mean[0, -1]).detach().numpy(), taken[-1], rtol=1e-5, atol=1e-6
    )


def test_episodes_side_by_side_are_each_alone_and_begin_anew_where_told() -> None:
    agent = fitted()
    x = np.random.default_rng(2).normal(size=(5, 2, 2)).astype(np.float32)
    together, state = [], None
    for t in range(5):
        actions, state = agent.predict(x[t], state, episode_start=np.array([t in (0, 3), t == 0]))
        together.append(actions)
    for i, starts in enumerate([(0, 3), (0,)]):
        state = None
        for t in range(5):
            state = None if t in starts else state
            action, state = agent.predict(x[t, i], state)
            np.testing.assert_allclose(action, together[t][i], rtol=1e-4, atol=1e-6)


def test_a_state_of_other_episodes_is_refused() -> None:
    agent = fitted()
    _, state = agent.predict(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="state must be of 3 episodes"):
        agent.predict(np.zeros((3, 2)), state)


def test_the_best_return_is_promised_if_none_is_named() -> None:
    assert fitted().target_return == sum(range(4, 10))  # the second of (1..3), (4..9), (10, 11)
    assert fitted(target_return=3.5).target_return == 3.5


def test_the_learning_rate_rises_to_its_value() -> None:
    agent = fitted(3, warmup_steps=10)
    assert agent.optimisers["model"].param_groups[0]["lr"] == pytest.approx(3e-3)


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="n_heads must divide width"):
        made(width=15)


@pytest.mark.parametrize("seed", range(2))
def test_it_does_what_the_return_asks_for(seed: int) -> None:
    """The reward of a step is its action: a promise g is kept by the action g."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(1000, 2))
    actions = rng.uniform(-0.9, 0.9, size=(1000, 1))
    data = OfflineDataset(
        observations=states,
        actions=actions,
        rewards=actions[:, 0],
        next_observations=states,
        terminals=np.ones(1000, bool),
        timeouts=np.zeros(1000, bool),
    )
    agent = made(context=1, return_scale=1.0, dropout=0.0, seed=seed, n_layers=1)
    agent.fit(data, 300, batch_size=64, progress=False)
    for target in (-0.6, 0.0, 0.6):
        agent.target_return = target
        found, _ = agent.predict(rng.normal(size=(20, 2)))
        assert np.abs(found - target).mean() < 0.15


def test_dropout_keeps_the_mean_and_is_for_training_only() -> None:
    drop = Dropout(0.25, torch.Generator().manual_seed(0))
    x = torch.ones(40_000)
    thinned = drop(x)
    torch.testing.assert_close(thinned.unique(), torch.tensor([0, 4 / 3]))
    assert abs(thinned.mean().item() - 1) < 0.012  # four standard errors
    assert torch.equal(drop.eval()(x), x)
