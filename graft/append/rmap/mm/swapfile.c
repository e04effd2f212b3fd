
#include <linux/rmap_runs.h>

#ifdef CONFIG_FOLIAGE_RMAP
/**
 * swap_duplicate_run - hold consecutive slots once more each
 * @entry: the first slot, held already by a swap cache folio of the caller's
 * @nr: slots, all of one cluster
 *
 * Context: a page table lock may be held; takes the cluster's lock.
 * Return: 0; -EAGAIN with nothing changed when one of them is in no state for a plain increment,
 * for the caller to try swap_duplicate() on each.
 */
int swap_duplicate_run(swp_entry_t entry, unsigned int nr)
{
	struct swap_info_struct *si = swp_swap_info(entry);
	struct swap_cluster_info *ci;
	unsigned char *count;
	unsigned int i;
	int err = 0;

	if (!si)
		return -EAGAIN;
	count = si->swap_map + swp_offset(entry);
	ci = lock_cluster_or_swap_info(si, swp_offset(entry));
	for (i = 0; i < nr && !err; i++)
		if (!count[i] || (count[i] & ~SWAP_HAS_CACHE) >= SWAP_MAP_MAX)
			err = -EAGAIN;
	for (i = 0; i < nr && !err; i++)
		WRITE_ONCE(count[i], count[i] + 1);
	unlock_cluster_or_swap_info(si, ci);
	return err;
}
#endif
