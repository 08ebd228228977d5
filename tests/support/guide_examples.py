"""The Python examples of the first guides to this method: their statements, with other imports and paths alone.

Comments and layout are this project's own.
"""

CUSTOM_LOOP = """
import torch
from trc import TinyRecursiveControl
from trc.guide import train, load_dataset, create_data_loaders

train_dataset, val_dataset = load_dataset('data.npz')
train_loader, val_loader = create_data_loaders(train_dataset, val_dataset, batch_size=64)

model = TinyRecursiveControl.create_medium()
trained_model = train(
    model=model, train_loader=train_loader, val_loader=val_loader,
    epochs=100, lr=1e-3, device='cuda', output_dir='outputs/custom',
)
torch.save(model.state_dict(), 'my_model.pt')
"""

PROCESS_SUPERVISION = """
import torch
from trc import TinyRecursiveControl
from trc.guide import create_value_predictor
from trc.guide import train_with_process_supervision, simulate_vanderpol_torch

model = TinyRecursiveControl.create_two_level_medium(state_dim=2, control_dim=1, control_horizon=100)
value_predictor = create_value_predictor(latent_dim=model.config.latent_dim, size='small')

def dynamics_fn(initial_state, controls):
    return simulate_vanderpol_torch(initial_state, controls, mu=1.0, dt=0.05)

cost_params = {'Q': torch.eye(2), 'R': 0.01 * torch.eye(1), 'Q_final': 10.0 * torch.eye(2)}
trained_model = train_with_process_supervision(
    model=model, train_loader=train_loader, val_loader=val_loader, dynamics_fn=dynamics_fn,
    epochs=100, lr=1e-3, process_weight=0.1, value_predictor=value_predictor, value_weight=0.01,
    cost_params=cost_params,
)
"""

EVALUATION = """
from trc.guide import RefinementEvaluator

evaluator = RefinementEvaluator(model=trained_model, problem=problem, dynamics_fn=dynamics_fn, device='cuda')
metrics = evaluator.evaluate(test_loader)
evaluator.plot_refinement_curves(metrics, output_path='refinement.png')
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
            state = state_batch[b].cpu().numpy().reshape(2, 1)
            for t in range(horizon):
                u = control_batch[b, t, 0].cpu().numpy()
                u_array = np.array([[u]])
                state = propagateOneStep(init_state=state, control=u_array, dt=dt, numsteps=1)
            final_states.append(torch.tensor(state.flatten(), dtype=state_batch.dtype))
        return torch.stack(final_states).to(state_batch.device)

    return dynamics_fn
"""

REFINEMENT = """
output = model(current, target, return_all_iterations=True)
for i in range(output['all_controls'].shape[1]):
    controls_i = output['all_controls'][0, i]
    print(f"Iteration {i}: {controls_i[:5]}")
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
    data = np.load(dataset_path)
    dataset = TensorDataset(
        torch.tensor(data['initial_states']),
        torch.tensor(data['target_states']),
        torch.tensor(data['control_sequences']),
    )
    loader = DataLoader(dataset, batch_size=64, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for epoch in range(epochs):
        for initial, target, optimal_controls in loader:
            output = model(initial, target)
            predicted_controls = output['controls']
            loss = F.mse_loss(predicted_controls, optimal_controls)
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
    with torch.no_grad():
        output = model(
            current_state=torch.tensor(initial_states, dtype=torch.float32),
            target_state=torch.tensor(target_states, dtype=torch.float32),
        )
    controls = output['controls']
    completions = []
    for b in range(controls.shape[0]):
        control_seq = controls[b, :, 0].cpu().numpy()
        control_text = f"<control>{';'.join(map(str, control_seq))}</control>"
        completions.append(control_text)
    rewards = navigation_reward_func(
        prompts=None, completions=completions, initial_state=initial_states, target_state=target_states
    )
    return rewards
"""
