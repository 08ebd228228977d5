"""The Python examples of the first guides to this method, with nothing but imports and paths changed."""

CUSTOM_LOOP = """
import torch
from trc import TinyRecursiveControl
from trc.guide import train, load_dataset, create_data_loaders

# Load data
train_dataset, val_dataset = load_dataset('data.npz')
train_loader, val_loader = create_data_loaders(train_dataset, val_dataset, batch_size=64)

# Create model
model = TinyRecursiveControl.create_medium()

# Custom training
trained_model = train(
    model=model,
    train_loader=train_loader,
    val_loader=val_loader,
    epochs=100,
    lr=1e-3,
    device='cuda',
    output_dir='outputs/custom',
)

# Save model
torch.save(model.state_dict(), 'my_model.pt')
"""

PROCESS_SUPERVISION = """
import torch
from trc import TinyRecursiveControl
from trc.guide import create_value_predictor
from trc.guide import (
    train_with_process_supervision,
    simulate_vanderpol_torch,
)

# Create model with two-level architecture
model = TinyRecursiveControl.create_two_level_medium(
    state_dim=2,
    control_dim=1,
    control_horizon=100,
)

# Optional: Create value predictor
value_predictor = create_value_predictor(
    latent_dim=model.config.latent_dim,
    size='small',
)

# Define dynamics function (must be differentiable!)
def dynamics_fn(initial_state, controls):
    return simulate_vanderpol_torch(initial_state, controls, mu=1.0, dt=0.05)

# Cost parameters
cost_params = {
    'Q': torch.eye(2),
    'R': 0.01 * torch.eye(1),
    'Q_final': 10.0 * torch.eye(2),
}

# Train with process supervision
trained_model = train_with_process_supervision(
    model=model,
    train_loader=train_loader,
    val_loader=val_loader,
    dynamics_fn=dynamics_fn,
    epochs=100,
    lr=1e-3,
    process_weight=0.1,
    value_predictor=value_predictor,
    value_weight=0.01,
    cost_params=cost_params,
)
"""

EVALUATION = """
from trc.guide import RefinementEvaluator

# Create evaluator
evaluator = RefinementEvaluator(
    model=trained_model,
    problem=problem,
    dynamics_fn=dynamics_fn,
    device='cuda',
)

# Evaluate on test set
metrics = evaluator.evaluate(test_loader)

# Plot refinement curves
evaluator.plot_refinement_curves(metrics, output_path='refinement.png')

# Analyze convergence
conv_stats = evaluator.analyze_convergence(metrics)
print(f"Samples improving: {conv_stats['pct_samples_improving']:.1f}%")
"""

OWN_DYNAMICS = """
import torch

def create_dynamics_wrapper(dt=0.33):
    def dynamics_fn(state_batch, control_batch):
        import numpy as np

        batch_size = state_batch.shape[0]
        horizon = control_batch.shape[1]

        final_states = []

        for b in range(batch_size):
            # Convert to numpy
            state = state_batch[b].cpu().numpy().reshape(2, 1)

            # Simulate trajectory
            for t in range(horizon):
                u = control_batch[b, t, 0].cpu().numpy()
                u_array = np.array([[u]])

                # Use your propagateOneStep
                state = propagateOneStep(
                    init_state=state,
                    control=u_array,
                    dt=dt,
                    numsteps=1,
                )

            final_states.append(
                torch.tensor(state.flatten(), dtype=state_batch.dtype)
            )

        return torch.stack(final_states).to(state_batch.device)

    return dynamics_fn
"""

REFINEMENT = """
# 1. Check with return_all_iterations
output = model(current, target, return_all_iterations=True)

# 2. Visualize refinement
for i in range(output['all_controls'].shape[1]):
    controls_i = output['all_controls'][0, i]
    print(f"Iteration {i}: {controls_i[:5]}")

# 3. Check if error decreases
if 'errors' in output:
    errors = output['errors'][0]
    for i, e in enumerate(errors):
        print(f"Iter {i} error: {torch.norm(e):.4f}")
"""

OWN_TRAINING = """
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

def train_supervised(model, dataset_path, epochs=100, lr=1e-3):
    # Load LQR data
    data = np.load(dataset_path)

    # Create dataset
    dataset = TensorDataset(
        torch.tensor(data['initial_states']),
        torch.tensor(data['target_states']),
        torch.tensor(data['control_sequences']),
    )

    loader = DataLoader(dataset, batch_size=64, shuffle=True)

    # Optimizer
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)

    # Training loop
    for epoch in range(epochs):
        for initial, target, optimal_controls in loader:
            # Generate controls
            output = model(initial, target)
            predicted_controls = output['controls']

            # MSE loss
            loss = F.mse_loss(predicted_controls, optimal_controls)

            # Backprop
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        if epoch % 10 == 0:
            print(f"Epoch {epoch}: Loss = {loss.item():.4f}")

    return model
"""

OWN_REWARD = """
import torch

def evaluate_trm_controls(model, initial_states, target_states):
    # Generate controls with TRM
    with torch.no_grad():
        output = model(
            current_state=torch.tensor(initial_states, dtype=torch.float32),
            target_state=torch.tensor(target_states, dtype=torch.float32),
        )

    controls = output['controls']  # [batch, horizon, 1]

    # Format for your reward function
    completions = []
    for b in range(controls.shape[0]):
        # Convert to your expected format
        control_seq = controls[b, :, 0].cpu().numpy()
        # Your reward function expects text with <control> tags
        control_text = f"<control>{';'.join(map(str, control_seq))}</control>"
        completions.append(control_text)

    # Use your existing reward function
    rewards = navigation_reward_func(
        prompts=None,
        completions=completions,
        initial_state=initial_states,
        target_state=target_states,
    )

    return rewards
"""
