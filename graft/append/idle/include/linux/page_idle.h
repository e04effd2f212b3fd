
#include <linux/idle_ages.h>
