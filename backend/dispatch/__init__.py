"""Which job runs when: the one dispatcher, its claim on the folder, the order of waiting jobs, the engine, retention."""
