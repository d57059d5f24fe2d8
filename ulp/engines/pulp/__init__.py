# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine for processes that preload libpulp: it speaks with the libpulp inside, which does the patching."""
