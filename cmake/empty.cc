// A module that is headers alone still needs one translation unit.
