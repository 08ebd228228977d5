// Both problems of the paper as a compiled model of crocoddyl's, and its box-constrained DDP behind one C function.
//
// The dynamics are x'' = mu (1 - x^2) x' - spring x + u by one fourth-order Runge-Kutta step, its Jacobians by the
// chain rule: the Van der Pol oscillator, and with both zero the double integrator, for which the step is exact. The
// cost is quadratic, (x - target)' Q (x - target) + R u^2 in every step and Qf in the end.

#include <crocoddyl/core/action-base.hpp>
#include <crocoddyl/core/optctrl/shooting.hpp>
#include <crocoddyl/core/solvers/box-ddp.hpp>
#include <crocoddyl/core/solvers/box-fddp.hpp>
#include <crocoddyl/core/states/euclidean.hpp>

using Eigen::Matrix2d;
using Eigen::Vector2d;

struct Problem {
  double mu, spring, dt, low, high;
  Matrix2d Q, Qf;
  double R;
  Vector2d target;
};

class Oscillator : public crocoddyl::ActionModelAbstract {
 public:
  Oscillator(const std::shared_ptr<Problem>& problem, bool final)
      : ActionModelAbstractTpl<double>(std::make_shared<crocoddyl::StateVector>(2), 1, 0), problem_(problem), final_(final) {
    set_u_lb(Eigen::VectorXd::Constant(1, problem->low));
    set_u_ub(Eigen::VectorXd::Constant(1, problem->high));
  }

  Vector2d field(const Vector2d& x, double u) const {
    return {x[1], problem_->mu * (1 - x[0] * x[0]) * x[1] - problem_->spring * x[0] + u};
  }

  Matrix2d slope(const Vector2d& x) const {
    Matrix2d A;
    A << 0, 1, -2 * problem_->mu * x[0] * x[1] - problem_->spring, problem_->mu * (1 - x[0] * x[0]);
    return A;
  }

  void calc(const std::shared_ptr<crocoddyl::ActionDataAbstract>& data, const Eigen::Ref<const Eigen::VectorXd>& x,
            const Eigen::Ref<const Eigen::VectorXd>& u) override {
    const Vector2d e = Vector2d(x) - problem_->target;
    if (final_) return calc(data, x);
    const double dt = problem_->dt;
    const Vector2d k1 = field(x, u[0]), k2 = field(x + dt / 2 * k1, u[0]), k3 = field(x + dt / 2 * k2, u[0]),
                   k4 = field(x + dt * k3, u[0]);
    data->xnext = x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
    data->cost = e.dot(problem_->Q * e) + problem_->R * u[0] * u[0];
  }

  void calc(const std::shared_ptr<crocoddyl::ActionDataAbstract>& data,
            const Eigen::Ref<const Eigen::VectorXd>& x) override {
    const Vector2d e = Vector2d(x) - problem_->target;
    data->xnext = x;
    data->cost = e.dot((final_ ? problem_->Qf : problem_->Q) * e);
  }

  void calcDiff(const std::shared_ptr<crocoddyl::ActionDataAbstract>& data,
                const Eigen::Ref<const Eigen::VectorXd>& x, const Eigen::Ref<const Eigen::VectorXd>& u) override {
    if (final_) return calcDiff(data, x);
    const double dt = problem_->dt;
    const Vector2d k1 = field(x, u[0]), k2 = field(x + dt / 2 * k1, u[0]), k3 = field(x + dt / 2 * k2, u[0]);
    const Vector2d b(0, 1);
    const Matrix2d I = Matrix2d::Identity(), A1 = slope(x), A2 = slope(x + dt / 2 * k1), A3 = slope(x + dt / 2 * k2),
                   A4 = slope(x + dt * k3);
    const Matrix2d K2 = A2 * (I + dt / 2 * A1), K3 = A3 * (I + dt / 2 * K2), K4 = A4 * (I + dt * K3);
    const Vector2d B2 = A2 * (dt / 2 * b) + b, B3 = A3 * (dt / 2 * B2) + b, B4 = A4 * (dt * B3) + b;
    data->Fx = I + dt / 6 * (A1 + 2 * K2 + 2 * K3 + K4);
    data->Fu = dt / 6 * (b + 2 * B2 + 2 * B3 + B4);
    data->Lx = 2 * problem_->Q * (Vector2d(x) - problem_->target);
    data->Lxx = 2 * problem_->Q;
    data->Lu[0] = 2 * problem_->R * u[0];
    data->Luu(0, 0) = 2 * problem_->R;
  }

  void calcDiff(const std::shared_ptr<crocoddyl::ActionDataAbstract>& data,
                const Eigen::Ref<const Eigen::VectorXd>& x) override {
    const Matrix2d& W = final_ ? problem_->Qf : problem_->Q;
    data->Lx = 2 * W * (Vector2d(x) - problem_->target);
    data->Lxx = 2 * W;
  }

  std::shared_ptr<crocoddyl::ActionModelBase> cloneAsDouble() const override {
    return std::make_shared<Oscillator>(problem_, final_);
  }

  std::shared_ptr<crocoddyl::ActionModelBase> cloneAsFloat() const override { return nullptr; }

 private:
  std::shared_ptr<Problem> problem_;
  bool final_;
};

struct Solver {
  std::shared_ptr<Problem> problem;
  std::shared_ptr<crocoddyl::ShootingProblem> shooting;
  std::shared_ptr<crocoddyl::SolverDDP> ddp;
};

extern "C" {

// weights: mu, spring, dt, low, high, Q (4), R, Qf (4)
Solver* make(const double* weights, int T, double tolerance, int feasible) {
  auto problem = std::make_shared<Problem>();
  problem->mu = weights[0];
  problem->spring = weights[1];
  problem->dt = weights[2];
  problem->low = weights[3];
  problem->high = weights[4];
  problem->Q << weights[5], weights[6], weights[7], weights[8];
  problem->R = weights[9];
  problem->Qf << weights[10], weights[11], weights[12], weights[13];
  problem->target.setZero();
  std::vector<std::shared_ptr<crocoddyl::ActionModelAbstract>> running(T, std::make_shared<Oscillator>(problem, false));
  auto shooting = std::make_shared<crocoddyl::ShootingProblem>(Eigen::VectorXd::Zero(2), running,
                                                               std::make_shared<Oscillator>(problem, true));
  std::shared_ptr<crocoddyl::SolverDDP> ddp;
  if (feasible)
    ddp = std::make_shared<crocoddyl::SolverBoxDDP>(shooting);
  else
    ddp = std::make_shared<crocoddyl::SolverBoxFDDP>(shooting);
  shooting->set_nthreads(1);
  ddp->set_th_stop(tolerance);
  return new Solver{problem, shooting, ddp};
}

// From controls us [T], overwritten; the iterations.
int solve(Solver* solver, const double* initial, const double* target, double* us, int iterations) {
  const std::size_t T = solver->shooting->get_T();
  solver->problem->target << target[0], target[1];
  solver->shooting->set_x0(Eigen::Map<const Vector2d>(initial));
  std::vector<Eigen::VectorXd> controls(T), states;
  for (std::size_t t = 0; t < T; ++t) controls[t] = Eigen::VectorXd::Constant(1, us[t]);
  states = solver->shooting->rollout_us(controls);
  solver->ddp->solve(states, controls, iterations, true);
  for (std::size_t t = 0; t < T; ++t) us[t] = solver->ddp->get_us()[t][0];
  return static_cast<int>(solver->ddp->get_iter());
}

}
