// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that owns movable pages with known contents, to test how the VM treats such pages.
 *
 * It keeps to the contract of struct movable_operations, fails on order, counts what it is called
 * for and complains (stat: broken) when the VM breaks its side.
 *
 *	pages (xarray)         struct page
 *	                     +---------------------------------------------------+
 *	number ------------> | private    the number, and below it enum what     |
 *	                     | mapping    the operations, or NULL if not movable |
 *	                     | contents   a function of the number               |
 *	                     +---------------------------------------------------+
 *
 *	          isolate                    migrate: 0
 *	  ours -----------> ours, isolated -----------> number's page is the new one; old one goes
 *	    ^                |   |     ^ | migrate: -EAGAIN, other errors
 *	    +----------------+   |     +-+
 *	         putback         | release, by order or by a write to "free"
 *	                         v
 *	                     not ours: the VM drops it, and calls us no more for it
 *
 * Files in test_movable/ of debugfs:
 *
 *	alloc         w   "COUNT [NODE]"         allocate pages; numbers go on from the last one's
 *	free          w   "all", "range A B"     free them all, or those numbered A to B
 *	                  "every N", "keep N"    free one of each N, or all but one of each N
 *	movable       rw  "1" or "0"             whether pages allocated from now on can be moved
 *	verify        r   "pages P wrong W"      look at the contents of every page
 *	pages         r   "NUMBER PFN NODE -ih"  a line a page: - or m if movable, isolated, held
 *	delay_us      rw  "MICROSECONDS"         sleep in each move, before anything else
 *	order         rw  "NAME TIMES [ERRNO]"   do it the next TIMES times (-1: always)
 *	                  fail_isolate           refuse isolation
 *	                  fail_migrate           return -ERRNO from the move
 *	                  release_isolated       free the page after its isolation
 *	                  release_migrate        free the page in the move, return -ERRNO (or 0)
 *	hold          rw  "A B" or "none"        reference pages A to B; drop all of these.
 *	                                         reads as "NUMBER PFN": the page that is held, which
 *	                                         is no longer the number's page when that has moved
 *	stat          rw  "NAME VALUE"           a line a counter, see enum counter; a write resets
 *
 * Errors: EINVAL for what cannot be parsed or has no sense, ERANGE for a number out of bounds,
 * ENOENT when no such page exists, ENOMEM when memory ran out and EINTR: pages got so far stay.
 *
 * Locks: page lock, then the xarray's. Letters at the fields say which. Writers of files get a
 * page by a reference under the xarray's lock, lock it, and look again if it is still the one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#define DELAY_MAX	1000000U
#define FOR_EVER	(-1)

/* What page->private says next to the number. Page lock. */
enum what {
	ISOLATED	= 1,
	DOOMED		= 2,	/* to be released while isolated */
	SAID_EAGAIN	= 4,	/* since it was isolated */
	SAID_ERROR	= 8,	/* another error, since it was isolated */
	WHAT_BITS	= 4,
};

enum counter {
	ALLOCATED, FREED,
	ISOLATE_OK, ISOLATE_REFUSED,
	MIGRATE_OK, MIGRATE_EAGAIN, MIGRATE_EBUSY, MIGRATE_ENOMEM, MIGRATE_OTHER,
	MIGRATE_RELEASED,	/* the page was released in the callback, whatever it returned */
	RELEASED,		/* while isolated: these and all others */
	PUTBACK,
	OK_AFTER_EAGAIN,	/* moved in the same isolation in which it had said so */
	CALL_AFTER_ERROR,	/* asked again in the same isolation after another error */
	ISOLATED_NOW,
	BROKEN,			/* the VM broke the contract */
	NR_COUNTERS
};

/* In the same order. */
static const char * const stat_names[] = {
	"allocated", "freed",
	"isolate_ok", "isolate_refused",
	"migrate_ok", "migrate_eagain", "migrate_ebusy", "migrate_enomem", "migrate_other",
	"migrate_released", "released_isolated", "putback",
	"ok_after_eagain", "call_after_error", "isolated_now", "broken",
};

static_assert(ARRAY_SIZE(stat_names) == NR_COUNTERS);

enum order { FAIL_ISOLATE, FAIL_MIGRATE, RELEASE_ISOLATED, RELEASE_MIGRATE, NR_ORDERS };

/* Things to do a number of times. x. */
static struct {
	const char *name;
	int times;	/* FOR_EVER is possible */
	int err;	/* to be returned: 0 or negative */
} orders[NR_ORDERS] = {
	[FAIL_ISOLATE]		= { "fail_isolate" },
	[FAIL_MIGRATE]		= { "fail_migrate" },
	[RELEASE_ISOLATED]	= { "release_isolated" },
	[RELEASE_MIGRATE]	= { "release_migrate" },
};

static DEFINE_XARRAY(pages);		/* number -> page; its lock is the x below */
static DEFINE_XARRAY(held);		/* number -> page that was the number's when held */
static atomic_long_t last_number;
static bool make_movable = true;	/* of the next allocation */
static u32 delay_us;
static long stats[NR_COUNTERS];		/* x */
static unsigned long doomed;		/* x: the number isolated last that is to be released */

static const struct movable_operations ops;

/* --- a page of ours --------------------------------------------------------------------- */

static unsigned long number_of(struct page *page)
{
	return page_private(page) >> WHAT_BITS;
}

static bool page_is(struct page *page, enum what bits)
{
	return page_private(page) & bits;
}

static void page_tag(struct page *page, unsigned long number, unsigned long what)
{
	set_page_private(page, number << WHAT_BITS | what);
}

static u64 word_of(unsigned long number, unsigned int i)
{
	return (u64)number * 0x9e3779b97f4a7c15ULL + i * 0x2545f4914f6cdd1dULL;
}

static void fill(struct page *page, unsigned long number)
{
	u64 *p = kmap_local_page(page);

	for (unsigned int i = 0; i < PAGE_SIZE / sizeof(*p); i++)
		p[i] = word_of(number, i);
	kunmap_local(p);
}

static bool intact(struct page *page, unsigned long number)
{
	u64 *p = kmap_local_page(page);
	unsigned int i = 0;

	while (i < PAGE_SIZE / sizeof(*p) && p[i] == word_of(number, i))
		i++;
	kunmap_local(p);
	return i == PAGE_SIZE / sizeof(*p);
}

/* The page of @number, locked and with a reference; NULL if there is none. */
static struct page *page_lock_number(unsigned long number)
{
	struct page *page;

	for (;;) {
		xa_lock(&pages);
		page = xa_load(&pages, number);
		if (page)
			get_page(page);
		xa_unlock(&pages);
		if (!page)
			return NULL;
		lock_page(page);
		/* Entries change under the lock of the page that they name. */
		if (xa_load(&pages, number) == page)
			return page;
		unlock_page(page);
		put_page(page);
	}
}

static void page_unlock_put(struct page *page)
{
	unlock_page(page);
	put_page(page);
}

/* Give up a locked page; the caller has a reference. Whoever isolated it will see that it went. */
static void page_drop(struct page *page)
{
	xa_lock(&pages);
	__xa_erase(&pages, number_of(page));
	stats[FREED]++;
	if (page_is(page, ISOLATED)) {
		stats[RELEASED]++;
		stats[ISOLATED_NOW]--;
	}
	xa_unlock(&pages);
	if (__PageMovable(page))
		__ClearPageMovable(page);
	set_page_private(page, 0);
	put_page(page);
}

/* --- orders ----------------------------------------------------------------------------- */

/* True if this time is one of those ordered. */
static bool order_take(enum order o)
{
	lockdep_assert_held(&pages.xa_lock);
	if (!orders[o].times)
		return false;
	if (orders[o].times != FOR_EVER)
		orders[o].times--;
	return true;
}

/* The VM breaks the contract: say so once, count it always. */
static bool broken(bool cond, const char *text, struct page *page)
{
	if (!cond)
		return false;
	pr_err_once("the VM broke the contract: %s, pfn %lx\n", text, page_to_pfn(page));
	xa_lock(&pages);
	stats[BROKEN]++;
	xa_unlock(&pages);
	return true;
}

/* What every callback relies on: the caller has the lock, a reference, and isolated the page. */
static bool broken_page(struct page *page, bool isolated)
{
	return broken(!PageLocked(page), "page not locked", page) ||
	       broken(xa_load(&pages, number_of(page)) != page, "page not ours", page) ||
	       broken(page_count(page) < 2, "no reference", page) ||
	       broken(PageIsolated(page) != isolated, "PG_isolated", page) ||
	       broken(page_is(page, ISOLATED) != isolated, "isolated twice, or not at all", page);
}

/* --- callbacks -------------------------------------------------------------------------- */

/*
 * Release the page that is marked for it, between its isolation and its move. It may be locked:
 * by another mover, or because this runs under the lock of another page and nothing says in
 * which order they are taken. Then the move will see the mark.
 */
static void release_doomed(unsigned long number)
{
	struct page *page;

	xa_lock(&pages);
	page = number ? xa_load(&pages, number) : NULL;
	if (page && trylock_page(page))
		get_page(page);
	else
		page = NULL;
	xa_unlock(&pages);
	if (!page)
		return;
	if (page_is(page, DOOMED))
		page_drop(page);
	page_unlock_put(page);
}

static bool movable_isolate(struct page *page, isolate_mode_t mode)
{
	unsigned long number = number_of(page), last = 0;
	bool yes, doom;

	if (broken_page(page, false))
		return false;
	xa_lock(&pages);
	yes = !order_take(FAIL_ISOLATE);
	stats[yes ? ISOLATE_OK : ISOLATE_REFUSED]++;
	if (yes) {
		stats[ISOLATED_NOW]++;
		doom = order_take(RELEASE_ISOLATED);
		page_tag(page, number, ISOLATED | (doom ? DOOMED : 0));
		last = doomed;
		doomed = doom ? number : 0;
	}
	xa_unlock(&pages);
	release_doomed(last);
	return yes;
}

static void count_failure(struct page *page, int err)
{
	enum counter which = err == -EAGAIN ? MIGRATE_EAGAIN : err == -EBUSY ? MIGRATE_EBUSY :
			  err == -ENOMEM ? MIGRATE_ENOMEM : MIGRATE_OTHER;

	stats[which]++;
	set_page_private(page, page_private(page) | (err == -EAGAIN ? SAID_EAGAIN : SAID_ERROR));
}

/* What is ordered for this move: true if it is not to happen. */
static bool move_fails(struct page *src, int *err)
{
	bool drop;

	*err = 0;
	xa_lock(&pages);
	stats[CALL_AFTER_ERROR] += page_is(src, SAID_ERROR);
	drop = page_is(src, DOOMED) || order_take(RELEASE_MIGRATE);
	if (drop) {
		*err = page_is(src, DOOMED) ? -EAGAIN : orders[RELEASE_MIGRATE].err;
		stats[MIGRATE_RELEASED]++;
	} else if (order_take(FAIL_MIGRATE)) {
		*err = orders[FAIL_MIGRATE].err;
		count_failure(src, *err);
	}
	xa_unlock(&pages);
	if (drop)
		page_drop(src);
	return drop || *err;
}

static int movable_migrate(struct page *dst, struct page *src, enum migrate_mode mode)
{
	unsigned long number = number_of(src);
	u32 us = min(READ_ONCE(delay_us), DELAY_MAX);
	int err;

	if (broken_page(src, true) || broken(!PageLocked(dst), "target not locked", dst) ||
	    broken(dst->mapping, "target not new", dst))
		return -EINVAL;
	if (us)
		fsleep(us);
	if (move_fails(src, &err))
		return err;

	copy_highpage(dst, src);
	get_page(dst);
	page_tag(dst, number, 0);
	__SetPageMovable(dst, &ops);
	xa_lock(&pages);
	/* An entry that exists: no allocation. */
	__xa_store(&pages, number, dst, 0);
	stats[MIGRATE_OK]++;
	stats[OK_AFTER_EAGAIN] += page_is(src, SAID_EAGAIN);
	stats[ISOLATED_NOW]--;
	xa_unlock(&pages);
	__ClearPageMovable(src);
	set_page_private(src, 0);
	put_page(src);
	return MIGRATEPAGE_SUCCESS;
}

static void movable_putback(struct page *page)
{
	if (broken_page(page, true))
		return;
	xa_lock(&pages);
	stats[PUTBACK]++;
	stats[ISOLATED_NOW]--;
	if (doomed == number_of(page))
		doomed = 0;
	xa_unlock(&pages);
	page_tag(page, number_of(page), 0);
}

static const struct movable_operations ops = {
	.isolate_page	= movable_isolate,
	.migrate_page	= movable_migrate,
	.putback_page	= movable_putback,
};

/* --- what the files order --------------------------------------------------------------- */

static int alloc_one(int node, bool movable)
{
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
	unsigned long number = atomic_long_inc_return(&last_number);
	struct page *page;
	int err;

	page = alloc_pages_node(node, node == NUMA_NO_NODE ? gfp : gfp | __GFP_THISNODE, 0);
	if (!page)
		return -ENOMEM;
	fill(page, number);
	lock_page(page);
	page_tag(page, number, 0);
	err = xa_insert(&pages, number, page, GFP_KERNEL);
	if (!err && movable)
		__SetPageMovable(page, &ops);
	unlock_page(page);
	if (err) {
		set_page_private(page, 0);
		put_page(page);
		return err;
	}
	xa_lock(&pages);
	stats[ALLOCATED]++;
	xa_unlock(&pages);
	return 0;
}

static int set_alloc(char *text)
{
	bool movable = READ_ONCE(make_movable);
	int node = NUMA_NO_NODE, end = 0, err = 0;
	unsigned long count;

	if (sscanf(text, "%lu%n %d%n", &count, &end, &node, &end) < 1 || text[end] || !count)
		return -EINVAL;
	if (count > totalram_pages())
		return -ERANGE;
	if (node != NUMA_NO_NODE && (node < 0 || node >= nr_node_ids || !node_online(node)))
		return -EINVAL;
	while (count-- && !err) {
		err = fatal_signal_pending(current) ? -EINTR : alloc_one(node, movable);
		cond_resched();
	}
	return err;
}

/* Which pages to free. */
struct choice {
	unsigned long first, last;
	unsigned long every;	/* one of so many */
	bool keep;		/* all but these */
};

static int free_pages_chosen(const struct choice *c)
{
	unsigned long number, seen = 0, freed = 0;
	struct page *page;

	xa_for_each_range(&pages, number, page, c->first, c->last) {
		if ((++seen % c->every == 0) == c->keep)
			continue;
		page = page_lock_number(number);
		if (!page)
			continue;
		page_drop(page);
		page_unlock_put(page);
		freed++;
		cond_resched();
	}
	return freed ? 0 : -ENOENT;
}

static int set_free(char *text)
{
	struct choice c = { .last = ULONG_MAX, .every = 1 };
	int end = 0;

	if (!strcmp(text, "all"))
		return free_pages_chosen(&c);
	if (sscanf(text, "range %lu %lu%n", &c.first, &c.last, &end) == 2 && !text[end])
		return c.first > c.last ? -EINVAL : free_pages_chosen(&c);
	if (sscanf(text, "every %lu%n", &c.every, &end) != 1) {
		c.keep = true;
		if (sscanf(text, "keep %lu%n", &c.every, &end) != 1)
			return -EINVAL;
	}
	if (!end || text[end] || !c.every)
		return -EINVAL;
	return free_pages_chosen(&c);
}

static int set_order(char *text)
{
	int times, err = 0, end = 0;
	enum order o = 0;
	char name[32];

	if (sscanf(text, "%31s %d%n %d%n", name, &times, &end, &err, &end) < 2 || text[end])
		return -EINVAL;
	while (o < NR_ORDERS && strcmp(name, orders[o].name))
		o++;
	if (o == NR_ORDERS)
		return -EINVAL;
	if (times < FOR_EVER || err < (times && o == FAIL_MIGRATE) || err > MAX_ERRNO)
		return -ERANGE;
	xa_lock(&pages);
	orders[o].times = times;
	orders[o].err = -err;
	xa_unlock(&pages);
	return 0;
}

static void hold_none(void)
{
	struct page *page;
	unsigned long number;

	xa_for_each(&held, number, page) /* Two writers may do this at once. */
		if (xa_cmpxchg(&held, number, page, NULL, GFP_KERNEL) == page)
			put_page(page);
}

static int set_hold(char *text)
{
	unsigned long first, last, number, n = 0;
	struct page *page;
	int end = 0, err = 0;

	if (!strcmp(text, "none")) {
		hold_none();
		return 0;
	}
	if (sscanf(text, "%lu %lu%n", &first, &last, &end) != 2 || text[end] || first > last)
		return -EINVAL;
	xa_for_each_range(&pages, number, page, first, last) {
		page = page_lock_number(number);
		if (!page)
			continue;
		unlock_page(page);
		/* One reference a number is enough, to its first page. */
		err = xa_insert(&held, number, page, GFP_KERNEL);
		if (err)
			put_page(page);
		if (err && err != -EBUSY)
			return err;
		n++;
	}
	return n ? 0 : -ENOENT;
}

static int set_stat(char *text)
{
	xa_lock(&pages);
	/* What exists stays counted, and what is isolated will be moved or put back. */
	stats[ALLOCATED] -= stats[FREED];
	stats[ISOLATE_OK] = stats[ISOLATED_NOW];
	for (enum counter i = FREED; i < NR_COUNTERS; i++)
		if (i != ISOLATE_OK && i != ISOLATED_NOW)
			stats[i] = 0;
	xa_unlock(&pages);
	return 0;
}

/* --- what the files show ---------------------------------------------------------------- */

static int show_order(struct seq_file *m)
{
	xa_lock(&pages);
	for (enum order o = 0; o < NR_ORDERS; o++)
		seq_printf(m, "%s %d %d\n", orders[o].name, orders[o].times, -orders[o].err);
	xa_unlock(&pages);
	return 0;
}

static int show_verify(struct seq_file *m)
{
	unsigned long number, n = 0, wrong = 0;
	struct page *page;

	xa_for_each(&pages, number, page) {
		page = page_lock_number(number);
		if (!page)
			continue;
		n++;
		wrong += !intact(page, number);
		page_unlock_put(page);
		cond_resched();
	}
	seq_printf(m, "pages %lu wrong %lu\n", n, wrong);
	return 0;
}

static int show_pages(struct seq_file *m)
{
	unsigned long number;
	struct page *page;

	xa_for_each(&pages, number, page) {
		/* So that the page is not another's by now; its state may be a moment old. */
		xa_lock(&pages);
		page = xa_load(&pages, number);
		if (page)
			seq_printf(m, "%lu %lu %d %c%c%c\n", number, page_to_pfn(page),
				   page_to_nid(page), __PageMovable(page) ? 'm' : '-',
				   page_is(page, ISOLATED) ? 'i' : '-',
				   xa_load(&held, number) ? 'h' : '-');
		xa_unlock(&pages);
		/* seq_file will come again with a larger buffer. */
		if (seq_has_overflowed(m))
			break;
		cond_resched();
	}
	return 0;
}

static int show_hold(struct seq_file *m)
{
	unsigned long number;
	struct page *page;

	xa_for_each(&held, number, page)
		seq_printf(m, "%lu %lu\n", number, page_to_pfn(page));
	return 0;
}

static int show_stat(struct seq_file *m)
{
	xa_lock(&pages);
	for (enum counter i = 0; i < NR_COUNTERS; i++)
		seq_printf(m, "%s %ld\n", stat_names[i], stats[i]);
	xa_unlock(&pages);
	return 0;
}

/* --- debugfs ---------------------------------------------------------------------------- */

struct movable_file {
	const char *name;
	int (*show)(struct seq_file *m);
	int (*set)(char *text);
};

static const struct movable_file files[] = {
	{ "alloc",	NULL,		set_alloc },
	{ "free",	NULL,		set_free },
	{ "verify",	show_verify,	NULL },
	{ "pages",	show_pages,	NULL },
	{ "order",	show_order,	set_order },
	{ "hold",	show_hold,	set_hold },
	{ "stat",	show_stat,	set_stat },
};

static int file_show(struct seq_file *m, void *unused)
{
	const struct movable_file *f = m->private;

	return f->show ? f->show(m) : -EINVAL;
}

static int file_open(struct inode *inode, struct file *file)
{
	return single_open(file, file_show, inode->i_private);
}

static ssize_t file_write(struct file *file, const char __user *buf, size_t size, loff_t *pos)
{
	const struct movable_file *f = ((struct seq_file *)file->private_data)->private;
	char text[64];
	int err;

	if (!f->set || size >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, size))
		return -EFAULT;
	text[size] = 0;
	err = f->set(strim(text));
	return err ?: size;
}

static const struct file_operations file_fops = {
	.owner		= THIS_MODULE,
	.open		= file_open,
	.read		= seq_read,
	.write		= file_write,
	.llseek		= seq_lseek,
	.release	= single_release,
};

static struct dentry *dir;

static int __init test_movable_init(void)
{
	dir = debugfs_create_dir("test_movable", NULL);
	if (IS_ERR(dir))
		return PTR_ERR(dir);
	debugfs_create_bool("movable", 0600, dir, &make_movable);
	debugfs_create_u32("delay_us", 0600, dir, &delay_us);
	for (int i = 0; i < ARRAY_SIZE(files); i++)
		debugfs_create_file(files[i].name,
				    (files[i].show ? 0400 : 0) | (files[i].set ? 0200 : 0), dir,
				    (void *)&files[i], &file_fops);
	return 0;
}

/*
 * A page that the VM has isolated is released like any other: its lock is only free when no
 * callback for it runs, and afterwards the VM finds nothing in it to call.
 */
static void __exit test_movable_exit(void)
{
	struct choice all = { .last = ULONG_MAX, .every = 1 };

	debugfs_remove_recursive(dir);
	hold_none();
	free_pages_chosen(&all);
	/* A callback that released its page may be on its way out; it does not sleep there. */
	synchronize_rcu_tasks();
	xa_destroy(&pages);
	xa_destroy(&held);
}

module_init(test_movable_init);
module_exit(test_movable_exit);
MODULE_DESCRIPTION("Movable pages with known contents that fail on order");
MODULE_LICENSE("GPL");
