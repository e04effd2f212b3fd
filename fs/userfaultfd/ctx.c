// SPDX-License-Identifier: GPL-2.0
/*
 * A userfaultfd's life: who may make one, its descriptor, references, its end.
 *
 * References: the descriptor's; one for each thread that waits for an answer or for an event to be
 * read. VMAs have none: the descriptor's end takes it from all of them, before it drops its own.
 */
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/miscdevice.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/sysctl.h>
#include <linux/syscalls.h>

#include "uffd.h"

static struct kmem_cache *uffd_cache __ro_after_init;
static int unprivileged __read_mostly;

/**
 * uffd_new - a userfaultfd that nobody knows yet
 * @mm: its address space; a reference on the struct is taken
 * @flags: of userfaultfd(2)
 * @features: of UFFDIO_API, 0 before it
 *
 * Return: it, with one reference; NULL without memory.
 */
struct uffd *uffd_new(struct mm_struct *mm, unsigned int flags, unsigned int features)
{
	struct uffd *u = kmem_cache_zalloc(uffd_cache, GFP_KERNEL);

	if (!u)
		return NULL;
	refcount_set(&u->ctx.refcount, 1);
	u->ctx.flags = flags;
	u->ctx.features = features;
	init_waitqueue_head(&u->ctx.fd_wqh);
	init_rwsem(&u->ctx.map_changing_lock);
	spin_lock_init(&u->lock);
	u->waiters = RB_ROOT;
	INIT_LIST_HEAD(&u->unread);
	INIT_LIST_HEAD(&u->events);
	mmgrab(mm);
	u->ctx.mm = mm;
	return u;
}

/**
 * uffd_put - drop a reference
 * @u: the userfaultfd, gone with the last one
 */
void uffd_put(struct uffd *u)
{
	if (!refcount_dec_and_test(&u->ctx.refcount))
		return;
	/* Each of them would have had a reference. */
	WARN_ON_ONCE(u->nr_waiters || u->nr_unread || !list_empty(&u->events));
	mmdrop(u->ctx.mm);
	kmem_cache_free(uffd_cache, u);
}

/* The last descriptor is closed: nobody answers any more. */
static int uffd_release(struct inode *inode, struct file *file)
{
	struct uffd *u = file->private_data;

	/*
	 * Who is about to wait sees this, or is added before the waking below. Who comes with
	 * the lock of a VMA drops it, so that the VMAs can be taken back.
	 */
	WRITE_ONCE(u->ctx.released, true);
	userfaultfd_release_all(u->ctx.mm, &u->ctx);
	uffd_wake_all(u);
	uffd_events_close(u);
	wake_up_poll(&u->ctx.fd_wqh, EPOLLHUP);
	uffd_put(u);
	return 0;
}

static const struct file_operations uffd_fops = {
#ifdef CONFIG_PROC_FS
	.show_fdinfo = uffd_show_fdinfo,
#endif
	.release = uffd_release,
	.poll = uffd_poll,
	.read_iter = uffd_read_iter,
	.unlocked_ioctl = uffd_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/**
 * uffd_install - give the caller a descriptor
 * @u: a userfaultfd without one; the descriptor takes over a reference
 * @owner: the inode whose creator the security module is asked about, or NULL
 *
 * Return: the descriptor; an error, and the reference is still the caller's.
 */
int uffd_install(struct uffd *u, struct inode *owner)
{
	unsigned int flags = u->ctx.flags & UFFD_SHARED_FCNTL_FLAGS;
	int fd = get_unused_fd_flags(flags);
	struct file *file;

	if (fd < 0)
		return fd;
	/* An inode of its own, which a security module can refuse. */
	file = anon_inode_create_getfile("[userfaultfd]", &uffd_fops, u, O_RDONLY | flags, owner);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	file->f_mode |= FMODE_NOWAIT;
	fd_install(fd, file);
	return fd;
}

static int create(int flags)
{
	struct uffd *u;
	int fd;

	BUILD_BUG_ON(UFFD_CLOEXEC != O_CLOEXEC || UFFD_NONBLOCK != O_NONBLOCK);
	BUILD_BUG_ON(UFFD_USER_MODE_ONLY & UFFD_SHARED_FCNTL_FLAGS);
	BUILD_BUG_ON(sizeof(struct uffd_msg) != 32);
	if (flags & ~(UFFD_SHARED_FCNTL_FLAGS | UFFD_USER_MODE_ONLY))
		return -EINVAL;
	u = uffd_new(current->mm, flags, 0);
	if (!u)
		return -ENOMEM;
	fd = uffd_install(u, NULL);
	if (fd < 0)
		uffd_put(u);
	return fd;
}

/* To keep the kernel waiting in a fault is a privilege, as it widens races. */
static bool may_create(int flags)
{
	return flags & UFFD_USER_MODE_ONLY || capable(CAP_SYS_PTRACE) || READ_ONCE(unprivileged);
}

SYSCALL_DEFINE1(userfaultfd, int, flags)
{
	return may_create(flags) ? create(flags) : -EPERM;
}

/* /dev/userfaultfd: who may open it may make one. */
static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long flags)
{
	return cmd == USERFAULTFD_IOC_NEW ? create(flags) : -EINVAL;
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = dev_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "userfaultfd",
	.fops = &dev_fops,
};

#ifdef CONFIG_SYSCTL
static struct ctl_table sysctls[] = {
	{
		.procname = "unprivileged_userfaultfd",
		.data = &unprivileged,
		.maxlen = sizeof(unprivileged),
		.mode = 0644,
		.proc_handler = proc_dointvec_minmax,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	},
};
#endif

static int __init uffd_init(void)
{
	int ret = misc_register(&dev);

	if (ret)
		return ret;
	uffd_cache = kmem_cache_create("userfaultfd_ctx_cache", sizeof(struct uffd), 0,
				       SLAB_HWCACHE_ALIGN | SLAB_PANIC, NULL);
#ifdef CONFIG_SYSCTL
	register_sysctl_init("vm", sysctls);
#endif
	return 0;
}
device_initcall(uffd_init);
