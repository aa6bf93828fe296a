"""DISCA's published loop by its own defaults, written plainly: what ours is timed against.

Ten convolutions in single precision, five random starts of a Gaussian mixture for each of 5, 10 and
20 groups, volumes turned by splines of order two, hinge on a softmax, Nadam at 1e-5.
"""

import time

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import PCA
from sklearn.metrics.cluster import contingency_matrix
from sklearn.mixture import GaussianMixture

from napari_cryoshift.core.losses import categorical_hinge
from napari_cryoshift.core.networks.yopo import YOPO

CANDIDATES = (5, 10, 20)
BATCH = 64


class Reference:
    """The state of the loop: network, labels, rates.

    Parameters
    ----------
    box
        Side of the volumes.
    candidates
        Numbers of groups to try.
    seed
        Of everything.
    """

    def __init__(self, box, candidates=CANDIDATES, seed=0):
        torch.manual_seed(seed)
        self.network, self.candidates, self.seed = YOPO(box), candidates, seed
        self.head = self.labels = self.k = None
        self.rate, self.smoothing, self.rounds = 1e-5, 0.2, 0
        self.generator = np.random.default_rng(seed)
        self.seconds = dict.fromkeys(("features", "grouping", "turning", "learning"), 0.0)

    def features(self, volumes):
        """(n, d, d, d) → (n, 1024)."""
        began = time.perf_counter()
        self.network.eval()
        with torch.no_grad():
            found = torch.cat([self.network(part) for part in volumes.split(BATCH)]).numpy()
        self.seconds["features"] += time.perf_counter() - began
        return found

    def group(self, features):
        """Label all volumes; return whether there are as many groups as before."""
        began = time.perf_counter()
        points = PCA(16, random_state=self.seed).fit_transform(features)
        fits = []
        for k in self.candidates:
            if k == self.k:
                fits.append(self._fit(points, k, 1e-3, **self._warm(points)))
                fits.append(self._fit(points, k, 1e-3))
            else:
                fits.append(self._fit(points, k, 1e-4))
        best = min(fits, key=lambda fit: fit.bic(points))
        _, labels = np.unique(best.predict(points), return_inverse=True)
        k, before = labels.max() + 1, self.k
        if k == before:
            shared = contingency_matrix(labels, self.labels)
            labels = linear_sum_assignment(-shared)[1][labels]
        self.labels, self.k = labels, k
        self.seconds["grouping"] += time.perf_counter() - began
        return k == before

    def learn(self, volumes, features, same):
        """Train a new last layer if there is another number of groups; then one epoch of all."""
        began = time.perf_counter()
        turned = torch.from_numpy(np.stack([self._turned(v.numpy()) for v in volumes]))
        self.seconds["turning"] += time.perf_counter() - began
        began = time.perf_counter()
        self.smoothing *= 0.9
        hot = torch.eye(self.k)[torch.from_numpy(self.labels)]
        targets = (1 - self.smoothing) * hot + self.smoothing / self.k
        if not same:
            self.head = torch.nn.Linear(1024, self.k)
            alone = torch.optim.NAdam(self.head.parameters(), 1e-4)
            for _ in range(10):
                self._epoch(torch.from_numpy(features), targets, alone, self.head)
            learnt = [*self.network.parameters(), *self.head.parameters()]
            self.optimiser = torch.optim.NAdam(learnt, self.rate)
        self.rate *= 0.95
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.network.train()
        both = torch.nn.Sequential(self.network, self.head)
        self._epoch(torch.cat([volumes, turned]), targets.repeat(2, 1), self.optimiser, both)
        self.rounds += 1
        self.seconds["learning"] += time.perf_counter() - began

    def _epoch(self, inputs, targets, optimiser, network):
        for rows in torch.from_numpy(self.generator.permutation(len(inputs))).split(BATCH):
            loss = categorical_hinge(network(inputs[rows]).softmax(1), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def _fit(self, points, k, tolerance, **start):
        return GaussianMixture(
            k,
            tol=tolerance,
            reg_covar=1e-5,
            max_iter=100,
            n_init=5,
            init_params="random",
            random_state=self.rounds,
            **start,
        ).fit(points)

    def _warm(self, points):
        members = [points[self.labels == j] for j in range(self.k)]
        ridge = 1e-5 * np.eye(points.shape[1])
        return {
            "weights_init": [len(own) / len(points) for own in members],
            "means_init": [own.mean(0) for own in members],
            "precisions_init": [np.linalg.inv(np.cov(own.T) + ridge) for own in members],
        }

    def _turned(self, volume):
        rotation = np.linalg.svd(self.generator.random((3, 3)))[0]
        half = volume.shape[0] / 2
        grid = np.mgrid[(slice(-half, half),) * 3].reshape(3, -1)
        at = (rotation @ grid + half).reshape(3, *volume.shape)
        return map_coordinates(volume, at, order=2)
