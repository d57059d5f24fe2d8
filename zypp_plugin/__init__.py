# SPDX-License-Identifier: GPL-2.0-or-later
"""Live patches that zypper installs, in everything that runs: the commit plugin and its report.

When zypper has installed, updated or removed a live patch package, zypp-livepatch's commit plugin applies what is
installed now to all running processes, tells the result in one line, and leaves a report.
"""
