// SPDX-License-Identifier: Apache-2.0
// A module that is headers alone still needs one translation unit.
