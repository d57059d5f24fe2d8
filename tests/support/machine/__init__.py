# SPDX-License-Identifier: GPL-2.0-or-later
"""A real kernel under test: one of Debian's, in an emulated machine, with live patches that were built on the spot.

``kernels`` fetches and keeps kernels, ``modules`` builds live patches for one, ``guest`` is what the machine runs,
``qemu`` emulates it, and ``machine`` is what tests use.
"""
