"""Do the tests notice when the code is wrong? Small faults are put into the core, one at a time."""
