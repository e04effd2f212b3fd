
#include <linux/rmap_runs.h>
