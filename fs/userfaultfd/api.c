// SPDX-License-Identifier: GPL-2.0
/* The handshake: what this kernel can do, and what user space wants of it. */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "uffd.h"

static u64 features_of_kernel(void)
{
	u64 features = UFFD_API_FEATURES;

	if (!IS_ENABLED(CONFIG_HAVE_ARCH_USERFAULTFD_MINOR))
		features &= ~(UFFD_FEATURE_MINOR_HUGETLBFS | UFFD_FEATURE_MINOR_SHMEM);
	if (!IS_ENABLED(CONFIG_HAVE_ARCH_USERFAULTFD_WP))
		features &= ~UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	if (!IS_ENABLED(CONFIG_PTE_MARKER_UFFD_WP))
		features &= ~(UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED |
			      UFFD_FEATURE_WP_ASYNC);
	return features;
}

static int check_wishes(const struct uffdio_api *api)
{
	if (api->api != UFFD_API)
		return -EINVAL;
	/* A child's memory can be read by who has its descriptor. */
	if (api->features & UFFD_FEATURE_EVENT_FORK && !capable(CAP_SYS_PTRACE))
		return -EPERM;
	return api->features & ~features_of_kernel() ? -EINVAL : 0;
}

/* Once; of several calls at a time one gets it. */
static int enable(struct uffd *u, u64 features)
{
	if (features & UFFD_FEATURE_WP_ASYNC)
		features |= UFFD_FEATURE_WP_UNPOPULATED;
	features |= UFFD_INITIALIZED;
	return cmpxchg(&u->ctx.features, 0, (unsigned int)features) ? -EINVAL : 0;
}

/**
 * uffd_api - UFFDIO_API
 * @u: the userfaultfd
 * @arg: struct uffdio_api; filled with what there is, or with zeroes on an error
 *
 * Return: 0; -EFAULT; -EPERM for EVENT_FORK without CAP_SYS_PTRACE; -EINVAL for another version,
 * features that are not there, and a second call.
 */
int uffd_api(struct uffd *u, void __user *arg)
{
	struct uffdio_api api;
	u64 wanted;
	int ret;

	if (copy_from_user(&api, arg, sizeof(api)))
		return -EFAULT;
	wanted = api.features;
	ret = check_wishes(&api);
	api = ret ? (struct uffdio_api){ } : (struct uffdio_api){
		.api = UFFD_API, .features = features_of_kernel(), .ioctls = UFFD_API_IOCTLS };
	/* The answer first: who cannot be told what it has does not get it. */
	if (copy_to_user(arg, &api, sizeof(api)))
		return -EFAULT;
	if (!ret)
		ret = enable(u, wanted);
	if (ret && clear_user(arg, sizeof(api)))
		return -EFAULT;
	return ret;
}

/**
 * uffd_show_fdinfo - /proc/PID/fdinfo/FD
 * @m: where to
 * @file: the descriptor
 *
 * Says how many faults nobody has read, and how many there are.
 */
void uffd_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct uffd *u = file->private_data;
	unsigned long unread, all;

	spin_lock(&u->lock);
	unread = u->nr_unread;
	all = u->nr_waiters;
	spin_unlock(&u->lock);
	seq_printf(m, "pending:\t%lu\n", unread);
	seq_printf(m, "total:\t%lu\n", all);
	seq_printf(m, "API:\t%llx:%x:%llx\n", UFFD_API, u->ctx.features,
		   UFFD_API_IOCTLS | UFFD_API_RANGE_IOCTLS);
}
