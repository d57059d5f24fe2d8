# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patches for libraries and programs in running processes.

A live patch is a container: a shared object with new functions for one build of a library or program, which it
names by its build-id. Applied to a process, the new functions run from the next call on. The process goes on
running and keeps its pid; nothing has to be preloaded or restarted. A process that preloads libpulp is patched
through libpulp. All that was done is recorded in the process itself, so it can be listed, checked and taken back at
any time.
"""
