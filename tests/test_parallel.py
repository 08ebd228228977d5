"""Work in several processes gives what one process gives."""

import hashlib

import pytest
import torch

import trc
from trc.parallel import parallel_map, single_thread


def test_order_and_threads_of_the_caller_are_kept():
    before = torch.get_num_threads()
    assert list(parallel_map(pow, [(2, k) for k in range(5)])) == [1, 2, 4, 8, 16]
    assert torch.get_num_threads() == before
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_jobs_must_be_positive():
    with pytest.raises(ValueError, match="jobs must be a whole number, 1 or more, got 0"):
        list(parallel_map(pow, [(2, 3)], jobs=0))


@pytest.mark.slow
def test_bytes_of_a_dataset_do_not_depend_on_jobs(tmp_path):
    problem = trc.make_problem("van_der_pol", horizon=10)
    problem.step(torch.zeros(1, 2), torch.zeros(1, 1), problem.parameters)
    digests = set()
    for jobs in (1, 2):
        data = trc.generate_dataset(problem, 3000, seed=1, jobs=jobs)
        digests.add(hashlib.sha256(data.save(tmp_path / f"{jobs}.npz").read_bytes()).hexdigest())
    assert len(digests) == 1
