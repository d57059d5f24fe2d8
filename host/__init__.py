# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine: procfs, rpm database, configuration, terminal, JSON, errors. Imports no other room."""
