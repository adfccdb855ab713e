# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests are made of: real processes and clients, conditions, deadlines."""
