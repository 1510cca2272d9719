# What every change must pass.
check:
    .ci/run

# The long checks.
deep:
    .ci/deep
