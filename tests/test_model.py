from functools import partial

import numpy as np
import pytest
import torch
from plain import step_by_step
from torch.nn import functional as F

import trc
from trc import ModelConfig
from trc import TinyRecursiveControl as Model
from trc.model.config import TRM_STYLE
from trc.model.layers import AttentionBlock, PlainBlock

SMALL = {"latent_dim": 16, "hidden_dim": 24, "num_blocks": 2, "num_heads": 2, "seed": 0}


def small(problem=None, **settings):
    return Model.create("small", problem=problem, **SMALL | settings)


# Size


TOTALS = {  # of the paper, by preset and horizon
    ("create_small", 15): 104_862,
    ("create_medium", 15): 530_590,
    ("create_large", 15): 2_604_062,
    ("create_small", 100): 143_112,
    ("create_medium", 100): 606_920,
    ("create_large", 100): 2_756_552,
    ("create_two_level_small", 15): 104_990,
    ("create_two_level_medium", 15): 398_366,
    ("create_two_level_large", 15): 2_077_470,
}


@pytest.mark.parametrize(("preset", "horizon"), TOTALS)
def test_totals_are_those_of_the_paper_and_the_table_adds_up(preset, horizon):
    create, total = getattr(Model, preset), TOTALS[preset, horizon]
    model = create(state_dim=2, control_dim=1, control_horizon=horizon)
    assert model.num_parameters() == sum(count for _, count in model.parameter_table()) == total
    if model.config.use_two_level:
        assert create(learnable_initial_latents=False).num_parameters() == total - 2 * model.config.latent_dim


def test_parts_of_the_medium_network_are_those_of_the_design():
    assert dict(Model.create_medium().parameter_table()) == {
        "state encoder": 34_944,
        "initial generator": 37_391,
        "error encoder": 17_152,
        "control and error embedding": 2_048 + 384,
        "reasoning blocks": 3 * (66_048 + 256 + 65_920 + 256),
        "decoder": 41_231,
    }


# Gradient


VARIANTS = {
    "one level": {},
    "two levels": {"use_two_level": True},
    "TRM style": TRM_STYLE | {"learnable_initial_latents": True},
    "plain blocks": {"reasoning": "mlp"},
    "plain blocks, two levels, norm last": {"reasoning": "mlp", "use_two_level": True, "norm_first": False},
    "full decoder": {"decoder": "full"},
    "the costate": {"feedback": "costate"},
    "the Newton step": {"feedback": "newton"},
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_every_parameter_learns(problem, draw, settings):
    model = Model.create_small(problem=problem, seed=0, **{"feedback": "error"} | settings).double()
    initial, target = draw(problem.replace(target_range=((-1, 1),) * problem.state_dim), 16)
    assert (initial != 0).all() and (target != 0).all()
    label = torch.randn(16, problem.horizon, problem.control_dim, generator=torch.Generator().manual_seed(1)).double()
    (model(initial, target)["controls"] - label).square().mean().backward()
    largest = {}
    for name, parameter in model.named_parameters():
        parts = zip(("q", "k", "v"), parameter.grad.chunk(3), strict=True) if "query_key_value" in name else []
        for part, gradient in parts or [("", parameter.grad)]:
            largest[name + part] = gradient.abs().max().item()
    if model.config.reasoning == "attention":
        assert sum("query_key_value" in name for name in largest) == 2 * 3 * model.config.num_blocks
    bound = 1e-8 * max(largest.values())
    assert not {name: value for name, value in largest.items() if value <= bound}


# The recursion


def iterates_by_hand(model, initial, target):
    """Controls, ``z`` (or ``z_H``) and ``z_L`` of all iterates on the double integrator, written out."""
    config = model.config
    scale, time = torch.tensor(config.state_scale).double(), torch.ones(len(initial), 1).double()
    problem = model.encode_state(torch.cat((initial / scale, target / scale, time), -1))
    z_H = z_L = problem
    if config.use_two_level:
        z_H, z_L = (model.initial_latents.get_parameter(name).expand_as(problem) for name in ("z_H", "z_L"))
    u = 4 * torch.tanh(model.initial_controls(problem))
    iterates = [(u.unsqueeze(-1), z_H, z_L)]

    def think(z, tokens):
        for block in model.blocks:
            z = block(z, block.context(tokens))
        return z

    first = z_H, z_L
    for k in range(config.num_outer_cycles):
        if config.use_gradient_truncation and k > 0:
            z_H, z_L, u = z_H.detach(), z_L.detach(), u.detach()
        if not config.carry_latents:
            z_H, z_L = first
        tokens = [problem, model.embed_controls(u / 4)]
        if config.feedback == "error":
            error = (step_by_step(model.problem, initial, u.unsqueeze(-1))[:, -1] - target) / scale
            tokens.append(model.encode_error(error) + model.embed_error(error))
        tokens = torch.stack(tokens, 1)
        if config.use_two_level:
            for _ in range(config.L_cycles):
                z_L = think(z_L + z_H, tokens)
            z_H = think(z_H + z_L, tokens[:, :0])
        else:
            for _ in range(config.num_inner_cycles):
                z_H = think(z_H, tokens)
        u = (u + 2 * torch.tanh(model.decode(torch.cat((z_H, u / 4), -1)))).clamp(-4, 4)
        iterates.append((u.unsqueeze(-1), z_H, z_L))
    return [torch.stack(each, 1) for each in zip(*iterates, strict=True)]


@pytest.mark.parametrize("feedback", ["none", "error"])
@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize("create", [Model.create_small, Model.create_two_level_small], ids=["one level", "two levels"])
def test_iterates_and_their_gradients_are_what_is_written_out(
    double_integrator, draw, create, truncate, carry, feedback
):
    options = {"feedback": feedback, "use_gradient_truncation": truncate, "carry_latents": carry, "seed": 0}
    model = create(problem=double_integrator, **options).double()
    initial, target = draw(double_integrator, 5)
    output = model(initial, target, return_all_iterations=True)
    ours = [output["all_controls"], output["all_latents"]]
    if model.config.use_two_level:
        ours.append(output["all_low_latents"])
    by_hand = iterates_by_hand(model, initial, target)[: len(ours)]
    torch.testing.assert_close(ours, by_hand, rtol=1e-12, atol=1e-13)
    weights, parameters, gradients = torch.randn_like(ours[0]), list(model.parameters()), []
    for controls in (ours[0], by_hand[0]):
        gradients.append(torch.autograd.grad((controls * weights).sum(), parameters, materialize_grads=True))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-13)


# Blocks


def make_block(kind, num_heads=2, **settings):
    """A block of width 8, latents ``[3, 8]`` and two context tokens each."""
    torch.manual_seed(0)
    block = kind(ModelConfig.of_size("small", latent_dim=8, num_heads=num_heads, **settings)).double()
    return block, torch.randn(3, 8).double(), torch.randn(3, 2, 8).double()


@pytest.mark.parametrize("num_heads", [1, 4])
@torch.no_grad()
def test_attention_is_that_of_torch_over_itself_the_context_and_zero(num_heads):
    block, z, context = make_block(AttentionBlock, num_heads)
    attention = torch.nn.MultiheadAttention(8, num_heads, add_zero_attn=True, batch_first=True)
    attention.in_proj_weight, attention.in_proj_bias = block.query_key_value.parameters()
    attention.out_proj = block.attention_out
    seen = block.norm_attention(torch.cat((z.unsqueeze(1), context), 1))
    after = z + attention(seen[:, :1], seen, seen)[0].squeeze(1)
    first, _, second = block.feedforward
    expected = after + second(F.silu(first(block.norm_feedforward(after))))
    torch.testing.assert_close(block(z, block.context(context)), expected)


@torch.no_grad()
def test_plain_block_adds_what_its_perceptron_makes_of_latent_and_context():
    block, z, context = make_block(PlainBlock)
    first, _, second = block.feedforward
    seen = F.layer_norm(z + context[:, 0] + context[:, 1], (8,))
    torch.testing.assert_close(block(z, block.context(context)), z + second(F.silu(first(seen))))


@torch.no_grad()
def test_trm_style_block_normalises_what_its_halves_give_out():
    block, z, tokens = make_block(AttentionBlock, **TRM_STYLE)
    context = block.context(tokens)
    half = F.rms_norm(z + block.attention_out(block.attend(z, context)), (8,))
    gate, value = (half @ block.feedforward.gate_and_value.weight.T).split(4 * 8, -1)
    updated = (F.silu(gate) * value) @ block.feedforward.out.weight.T
    torch.testing.assert_close(block(z, context), F.rms_norm(half + updated, (8,)))
    assert not any("bias" in name for name, _ in block.feedforward.named_parameters())


def test_trm_style_is_two_level_with_fixed_initial_latents():
    model = Model.create_trm_style("small", H_cycles=2)
    assert model.config == ModelConfig.of_size("small", **TRM_STYLE, num_outer_cycles=2)
    assert "initial_latents.z_H" in model.state_dict()
    assert not any("initial_latents" in name for name, _ in model.named_parameters())
    assert sum(count for _, count in model.parameter_table()) == model.num_parameters()
    other = small(state_dim=3, control_dim=2, control_horizon=7)  # dimensions without a problem
    assert other(torch.zeros(4, 3), torch.zeros(4, 3))["controls"].shape == (4, 7, 2)


@pytest.mark.parametrize("settings", [{}, TRM_STYLE, {"reasoning": "mlp"}], ids=["attention", "TRM style", "plain"])
def test_dropout_changes_training_alone(draw, double_integrator, settings):
    model = Model.create_small(problem=double_integrator, dropout=0.5, seed=0, **settings)
    plain = Model.create_small(problem=double_integrator, seed=0, **settings)
    instances = draw(double_integrator, 4, torch.float32)
    assert not torch.equal(model(*instances)["controls"], model(*instances)["controls"])
    assert torch.equal(model.eval()(*instances)["controls"], plain(*instances)["controls"])


# Controls


def test_full_decoder_writes_the_sequence_from_the_latent_alone(double_integrator, draw):
    model = Model.create_small(problem=double_integrator, decoder="full", seed=0)
    output = model(*draw(double_integrator, 4, torch.float32), return_all_iterations=True)
    for k in range(1, 4):
        expected = 4 * torch.tanh(model.decode(output["all_latents"][:, k])).unsqueeze(-1)
        torch.testing.assert_close(output["all_controls"][:, k], expected)


@pytest.mark.parametrize("factor", [0, 1, 3, 30])
@pytest.mark.parametrize(("low", "high"), [(-4.0, 4.0), (-2.0, 2.0), (-1.0, 3.0)])
def test_controls_keep_their_bounds_and_steps_a_quarter_of_the_range(factor, low, high):
    model = small(control_low=(low,), control_high=(high,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    out = model(10 * torch.randn(50, 2), torch.randn(50, 2), iterations=8, return_all_iterations=True)["all_controls"]
    assert low <= out.min() and out.max() <= high
    assert out.diff(dim=1).abs().max() <= (high - low) / 4 * (1 + 1e-6)
    if factor == 0:
        assert (out == (low + high) / 2).all()  # a network of zeros proposes the middle
    if factor == 30:
        assert (out.min(), out.max()) == (low, high)


@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_iterations_say_how_often_the_guess_is_refined(double_integrator, draw, iterations):
    model, x = small(double_integrator), draw(double_integrator, 4, torch.float32)
    out = model(*x, iterations=iterations, return_all_iterations=True)
    own = model(*x, return_all_iterations=True)
    assert own["all_controls"].shape == (4, 4, 15, 1)  # K = 3
    assert out["all_controls"].shape == (4, iterations + 1, 15, 1)
    assert out["all_latents"].shape == (4, iterations + 1, 16)
    assert torch.equal(out["controls"], out["all_controls"][:, -1])
    shared = min(iterations, 3) + 1  # the same weights, so the same beginning
    assert torch.equal(out["all_controls"][:, :shared], own["all_controls"][:, :shared])
    assert out["errors"].shape == (4, iterations, 2)


def test_each_instance_is_planned_for_itself(problem, draw):
    model, (initial, target) = small(problem), draw(problem, 7, torch.float32)
    together = model(initial, target)["controls"]
    for i in range(7):
        alone = model(initial[i : i + 1], target[i : i + 1])["controls"]
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5 * max(1, *problem.control_high))
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_remaining_time_is_an_input(double_integrator, draw):
    model, x = small(double_integrator), draw(double_integrator, 3, torch.float32)
    whole = model(*x)["controls"]
    assert torch.equal(model(*x, time_remaining=double_integrator.duration)["controls"], whole)
    mixed = model(*x, time_remaining=torch.tensor([5.0, 1.0, 5.0]))["controls"]
    assert torch.equal(mixed[0], whole[0])
    assert not torch.equal(mixed[1], whole[1])


# Feedback


@pytest.mark.parametrize("kind", ["error", "shuffled", "wrong"])
def test_what_each_kind_of_feedback_shows(problem, draw, kind):
    initial, target = draw(problem, 4)
    output = small(problem, feedback=kind).double()(initial, target, return_all_iterations=True)
    assert output["errors"].shape == (4, 3, problem.state_dim)
    for k in range(3):
        controls = output["all_controls"][:, k]
        true = trc.rollout(problem, initial, controls)
        torch.testing.assert_close(output["all_states"][:, k], true)
        by_hand = {
            "error": true[:, -1] - target,
            "shuffled": torch.stack([(true[:, -1] - target)[(i + 1) % 4] for i in range(4)]),
            "wrong": trc.rollout(problem, initial, 0.5 * controls)[:, -1] - target,
        }
        torch.testing.assert_close(output["errors"][:, k], by_hand[kind])


def test_shuffled_feedback_needs_another_instance(double_integrator, draw):
    with pytest.raises(ValueError, match="give at least two at a time"):
        small(double_integrator, feedback="shuffled")(*draw(double_integrator, 1, torch.float32))


def test_errors_are_in_the_output_if_and_only_if_feedback_was_active(double_integrator, draw):
    x, simulate = draw(double_integrator, 3, torch.float32), partial(trc.rollout, double_integrator)
    assert "errors" in small(double_integrator)(*x)
    assert "errors" not in small()(*x)  # no problem is known
    assert "errors" in small()(*x, dynamics_fn=simulate)
    for problem in (None, double_integrator):
        model = small(problem, feedback="none")
        out = model(*x, dynamics_fn=simulate, return_all_iterations=True)
        assert set(out) == {"controls", "all_controls", "all_latents"}
        assert torch.equal(out["controls"], model(*x)["controls"])


def test_simulator_may_give_final_states_trajectories_or_no_gradient(double_integrator, draw):
    x, model = draw(double_integrator, 4, torch.float32), small(double_integrator)
    trajectories = partial(trc.rollout, double_integrator)

    def final(initial, controls):
        return trajectories(initial, controls)[:, -1]

    def with_numpy(initial, controls):
        return torch.from_numpy(final(initial.double(), controls.double()).numpy())

    own = model(*x)["controls"]
    assert torch.equal(model(*x, dynamics_fn=trajectories)["controls"], own)
    assert torch.equal(model(*x, dynamics_fn=final)["controls"], own)
    assert "all_states" not in model(*x, dynamics_fn=final, return_all_iterations=True)
    with torch.no_grad():
        torch.testing.assert_close(model(*x, dynamics_fn=with_numpy)["controls"], own, rtol=0, atol=1e-5)


def test_model_trained_with_feedback_refuses_to_go_without():
    model = small()
    model.needs_simulator = True
    with pytest.raises(ValueError, match=r"trained with simulator feedback .* set model.problem, or pass dynamics_fn"):
        model(torch.zeros(1, 2), torch.zeros(1, 2))
    model.problem = trc.make_problem("double_integrator")
    assert "errors" in model(torch.zeros(1, 2), torch.zeros(1, 2))


# Making one


def test_seed_fixes_the_weights_which_state_dict_carries_over(double_integrator, draw):
    state, x = torch.get_rng_state(), draw(double_integrator, 3, torch.float32)
    first, again, other = (small(double_integrator, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first(*x)["controls"], other(*x)["controls"])
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(*x)["controls"], other(*x)["controls"])
    assert sum(tensor.numel() for tensor in first.state_dict().values()) == first.num_parameters()


def test_inputs_are_scaled_by_the_problems_ranges():
    wide = trc.make_problem("double_integrator", initial_range=((-4, 4), (-4, 4)), target_range=((-2, 2), (0, 0)))
    near, far = (small(p, feedback="none") for p in (trc.make_problem("double_integrator"), wide))
    x, target = torch.randn(5, 2), torch.tensor([0.5, 0.0]).repeat(5, 1)
    torch.testing.assert_close(near(x, target)["controls"], far(2 * x, 2 * target)["controls"])


CHOICES = ("reasoning", "feedforward", "norm", "decoder", "feedback")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": "huge"}, "unknown size 'huge'; known are small, medium, large"),
        *(({name: "odd"}, f"unknown {name} 'odd'; known are ") for name in CHOICES),
        ({"layers": 3}, r"unknown model setting layers; known are state_dim, .*time_scale"),
        ({"num_heads": 3}, "latent_dim 64 must be a multiple of num_heads 3"),
        ({"norm_first": 1}, "norm_first must be a bool, got 1; say True or False"),
        ({"dropout": 1.0}, "dropout must be below 1, got 1.0"),
        ({"num_blocks": 0}, "num_blocks must be a whole number, 1 or more, got 0"),
        ({"control_low": (4.0,)}, "control_low must be below control_high"),
        ({"state_dim": 2.5}, "state_dim must be a whole number, 1 or more, got 2.5"),
        ({"state_scale": (1.0, 0.0)}, "state_scale must be a positive number, got 0.0"),
        ({"time_scale": 0.0}, "time_scale must be a positive number, got 0.0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Model.create(**{"size": "small"} | settings)


def test_dimensions_beside_a_problem_must_agree_with_it(double_integrator):
    fitting = {"state_dim": 2, "control_dim": 1, "control_horizon": 15}
    assert Model.create_small(problem=double_integrator, **fitting).num_parameters() == 104_862
    for name in fitting:
        with pytest.raises(ValueError, match=f"{name}=20 does not match the problem 'double_integrator', which has"):
            Model.create_small(problem=double_integrator, **fitting | {name: 20})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"current_state": torch.zeros(4, 3)}, r"current_state must have shape \[any, 2\], got \[4, 3\]"),
        ({"target_state": torch.zeros(3, 2)}, r"target_state must have shape \[4, 2\], got \[3, 2\]"),
        ({"target_state": torch.zeros(4, 2).double()}, "is torch.float32 but target_state torch.float64; convert one"),
        ({"iterations": -1}, "iterations must be a whole number, 0 or more, got -1"),
        ({"time_remaining": torch.nan}, "time_remaining must be finite"),
        ({"time_remaining": 10**400}, "time_remaining must be seconds, one or one an instance, got 1000"),
        ({"time_remaining": torch.tensor(True)}, r"time_remaining must be seconds, .* got tensor\(True\)"),
        ({"time_remaining": torch.ones(3)}, r"needs one value or one an instance \(4\), got 3"),
        ({"dynamics_fn": lambda *_: torch.zeros(4, 15, 2)}, r"states \[4, 2\] or .* \[4, 16, 2\], got \[4, 15, 2\]"),
        ({"dynamics_fn": lambda *_: np.zeros((4, 2))}, r"final states \[4, 2\] or trajectories .*, got ndarray"),
        ({"dynamics_fn": lambda *_: torch.zeros(4, 2) / 0}, "returned states that are not finite; check it with the"),
    ],
)
def test_bad_input_is_refused(given, message):
    zero = torch.zeros(4, 2)
    with pytest.raises(ValueError, match=message):
        small()(**{"current_state": zero, "target_state": zero} | given)


def test_whole_numbers_that_are_large_are_numbers(double_integrator):
    states = double_integrator.sample(4, generator=torch.Generator().manual_seed(0))
    for settings in ({"initial_scale": 10**30}, {"time_scale": 10**30}):
        model = trc.TinyRecursiveControl.create_small(problem=double_integrator, **settings)
        assert model(*states)["controls"].isfinite().all()
