// SPDX-License-Identifier: GPL-2.0
/*
 * The anon_vma forest: which VMAs may map an anonymous folio.
 *
 *	folio->mapping --> anon_vma --interval tree of chains--> VMAs that may map it
 *
 *	process   its VMA's chains (newest first)	anon_vmas, all locked by the root's rwsem
 *
 *	P	  [A]					A  root      pages of P from before fork
 *	`- C	  [B] [A]				`- B	     pages that C copied
 *	   `- G	  [D] [B] [A]				   `- D	     pages that G copied
 *
 * A page that C copied on write belongs to B, and B's tree holds C's VMA and G's alone:
 * however many children P has, the page is found without asking them. A page of P from
 * before the forks belongs to A, whose tree holds everybody.
 *
 *   - vma->anon_vma is the first of the chains' and receives new pages.
 *   - num_children counts the anon_vmas that have this one as parent, a root itself too;
 *     num_active_vmas the VMAs whose vma->anon_vma it is. An anon_vma that no VMA uses any
 *     more and that has one child at most is used again by a fork, so a process that
 *     forks, exits, forks, exits ... does not grow a chain without end.
 *   - An anon_vma lives while its tree is not empty or somebody holds a reference; the
 *     root, which has the lock, as long as any of its tree.
 *   - The memory is type-stable (SLAB_TYPESAFE_BY_RCU), because folio->mapping is followed
 *     under RCU without a lock; see folio_lock_anon_vma_read().
 *
 * Locks: vma->anon_vma and the list of chains change under mmap_lock held for writing, or
 * for reading with page_table_lock; the interval tree, num_children and num_active_vmas
 * under the root's rwsem held for writing. No allocation is made under the rwsem.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/rmap.h>
#include <linux/slab.h>

#include "../internal.h"
#include "../vma.h"
#include "rmap.h"

static struct kmem_cache *anon_vma_cachep;
static struct kmem_cache *anon_vma_chain_cachep;

/* A new tree, or a child of @parent, which a VMA of the caller's keeps alive. */
static struct anon_vma *anon_vma_new(struct anon_vma *parent)
{
	struct anon_vma *new = kmem_cache_alloc(anon_vma_cachep, GFP_KERNEL);

	if (!new)
		return NULL;
	atomic_set(&new->refcount, 1);
	new->num_children = parent ? 0 : 1;
	new->num_active_vmas = 0;
	new->parent = parent ?: new;
	new->root = parent ? parent->root : new;
	if (parent)
		get_anon_vma(new->root);
	return new;
}

/*
 * The last reference is gone, but somebody who followed a folio's mapping may hold the
 * lock still, without a reference:
 *
 *	folio_lock_anon_vma_read()		put_anon_vma()
 *	  down_read_trylock(), acquires		  atomic_dec_and_test(), a full barrier
 *	  reads folio_mapped()			  reads rwsem_is_locked()
 *
 * The lock is taken before the folio is found unmapped, and the folio was unmapped before
 * the reference went: so either the lock is seen here and waited for, or the other finds
 * the folio unmapped and touches nothing but the lock.
 */
static void anon_vma_free(struct anon_vma *av)
{
	VM_WARN_ON_ONCE(atomic_read(&av->refcount));
	might_sleep();
	if (rwsem_is_locked(&av->root->rwsem)) {
		anon_vma_lock_write(av);
		anon_vma_unlock_write(av);
	}
	kmem_cache_free(anon_vma_cachep, av);
}

/**
 * __put_anon_vma - free an anon_vma whose last reference is gone
 * @anon_vma: the anon_vma; its reference on the root is dropped with it
 *
 * Context: may sleep. The root's rwsem is not held by the caller.
 */
void __put_anon_vma(struct anon_vma *anon_vma)
{
	struct anon_vma *root = anon_vma->root;

	anon_vma_free(anon_vma);
	if (anon_vma != root && atomic_dec_and_test(&root->refcount))
		anon_vma_free(root);
}

static void chains_free(struct list_head *chains)
{
	struct anon_vma_chain *avc, *next;

	list_for_each_entry_safe(avc, next, chains, same_vma)
		kmem_cache_free(anon_vma_chain_cachep, avc);
}

/*
 * @nr chains on a list, all or none of them. One by one: most lists are of one or two, for
 * which the slab's bulk calls cost more.
 */
static int chains_alloc(struct list_head *chains, unsigned long nr)
{
	struct anon_vma_chain *avc;

	while (nr--) {
		avc = kmem_cache_alloc(anon_vma_chain_cachep, GFP_KERNEL);
		if (!avc) {
			chains_free(chains);
			return -ENOMEM;
		}
		list_add(&avc->same_vma, chains);
	}
	return 0;
}

/*
 * Take a chain from the list and join a VMA with an anon_vma by it. The VMA's list is the
 * caller's to change, see above, and the root is locked for writing.
 */
static void chain_join(struct list_head *chains, struct vm_area_struct *vma, struct anon_vma *av)
{
	struct anon_vma_chain *avc = list_first_entry(chains, struct anon_vma_chain, same_vma);

	lockdep_assert_held_write(&av->root->rwsem);
	avc->vma = vma;
	avc->anon_vma = av;
	list_move(&avc->same_vma, &vma->anon_vma_chain);
	anon_vma_interval_tree_insert(avc, &av->rb_root);
}

/* Two faults of one process may both want to give @vma its anon_vma: the first one does. */
static void anon_vma_publish(struct vm_area_struct *vma, struct anon_vma *av,
			     struct list_head *chains)
{
	struct mm_struct *mm = vma->vm_mm;

	anon_vma_lock_write(av);
	spin_lock(&mm->page_table_lock);
	if (!vma->anon_vma) {
		chain_join(chains, vma, av);
		av->num_active_vmas++;
		/*
		 * A neighbour looks for an anon_vma to share without a lock of ours; what
		 * it reads through this pointer is ordered by the address dependency.
		 */
		smp_store_release(&vma->anon_vma, av);
	}
	spin_unlock(&mm->page_table_lock);
	anon_vma_unlock_write(av);
}

/**
 * __anon_vma_prepare - give a VMA the anon_vma that its first anonymous page needs
 * @vma: the VMA, without one when the caller looked
 *
 * A neighbour's is taken where the two VMAs could be merged, apart from that: they were
 * often one before an mprotect(), and may be again.
 *
 * Context: mmap_lock or the VMA's lock is held. Sleeps.
 * Return: 0, or -ENOMEM with the VMA as it was.
 */
int __anon_vma_prepare(struct vm_area_struct *vma)
{
	struct anon_vma *shared, *new = NULL;
	LIST_HEAD(chains);

	mmap_assert_locked(vma->vm_mm);
	might_sleep();
	if (chains_alloc(&chains, 1))
		return -ENOMEM;
	shared = find_mergeable_anon_vma(vma);
	if (!shared) {
		new = anon_vma_new(NULL);
		if (!new) {
			chains_free(&chains);
			return -ENOMEM;
		}
	}
	anon_vma_publish(vma, shared ?: new, &chains);
	if (list_empty(&chains))
		return 0;
	/* Another fault was first. */
	chains_free(&chains);
	if (new)
		put_anon_vma(new);
	return 0;
}

static unsigned long chains_count(struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc;
	unsigned long nr = 0;

	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma)
		nr++;
	return nr;
}

/* A VMA's chains all lead to one tree, so to one lock. */
static struct anon_vma *anon_vma_root_lock(struct vm_area_struct *vma)
{
	struct anon_vma_chain *avc;

	if (list_empty(&vma->anon_vma_chain))
		return NULL;
	avc = list_first_entry(&vma->anon_vma_chain, struct anon_vma_chain, same_vma);
	anon_vma_lock_write(avc->anon_vma);
	return avc->anon_vma->root;
}

static void anon_vma_root_unlock(struct anon_vma *root)
{
	if (root)
		up_write(&root->rwsem);
}

/* No VMA's new pages go there, and at most one branch hangs on it. Never a root. */
static bool anon_vma_reusable(struct anon_vma *av)
{
	return !av->num_active_vmas && av->num_children < 2 && av->root != av;
}

/*
 * Give @dst the chains that @src has, the oldest first, so that the order is the same.
 * For a fork (@reuse) also the topmost anon_vma nobody needs any more, as its own.
 */
static void chains_copy(struct vm_area_struct *dst, struct vm_area_struct *src,
			struct list_head *chains, bool reuse)
{
	struct anon_vma_chain *avc;

	list_for_each_entry_reverse(avc, &src->anon_vma_chain, same_vma) {
		chain_join(chains, dst, avc->anon_vma);
		if (reuse && !dst->anon_vma && anon_vma_reusable(avc->anon_vma))
			dst->anon_vma = avc->anon_vma;
	}
	if (dst->anon_vma)
		dst->anon_vma->num_active_vmas++;
}

/**
 * anon_vma_clone - give a VMA the chains of another
 * @dst: the VMA, without chains; its anon_vma is the source's already, or NULL
 * @src: the VMA it was copied from
 *
 * With dst->anon_vma NULL and src->anon_vma not, as for a fork, an anon_vma of the chain
 * that is no longer in use becomes the destination's, if there is one.
 *
 * Context: mmap_lock of both held for writing. Sleeps.
 * Return: 0, or -ENOMEM with no chain made and dst->anon_vma NULL.
 */
int anon_vma_clone(struct vm_area_struct *dst, struct vm_area_struct *src)
{
	bool reuse = !dst->anon_vma && src->anon_vma;
	struct anon_vma *root;
	LIST_HEAD(chains);

	if (chains_alloc(&chains, chains_count(src))) {
		dst->anon_vma = NULL;
		return -ENOMEM;
	}
	root = anon_vma_root_lock(src);
	chains_copy(dst, src, &chains, reuse);
	anon_vma_root_unlock(root);
	return 0;
}

/**
 * anon_vma_fork - let the reverse map find a child's VMA
 * @vma: the child's VMA, a copy of the parent's with an empty list of chains
 * @pvma: the parent's
 *
 * The child's VMA joins every anon_vma of the parent's, for the pages they share, and gets
 * one of its own, below the parent's, for those it will copy. Everything is allocated
 * first and made visible under one hold of the lock.
 *
 * Context: mmap_lock of both held for writing. Sleeps.
 * Return: 0, or -ENOMEM with the child's VMA without chains.
 */
int anon_vma_fork(struct vm_area_struct *vma, struct vm_area_struct *pvma)
{
	struct anon_vma *own, *root;
	LIST_HEAD(chains);

	if (!pvma->anon_vma)
		return 0;
	vma->anon_vma = NULL;
	if (chains_alloc(&chains, chains_count(pvma) + 1))
		return -ENOMEM;
	own = anon_vma_new(pvma->anon_vma);
	if (!own) {
		chains_free(&chains);
		return -ENOMEM;
	}
	root = anon_vma_root_lock(pvma);
	chains_copy(vma, pvma, &chains, true);
	if (!vma->anon_vma) {
		chain_join(&chains, vma, own);
		own->num_active_vmas = 1;
		own->parent->num_children++;
		vma->anon_vma = own;
		own = NULL;
	}
	anon_vma_root_unlock(root);
	/* An old one was used again. */
	if (own) {
		put_anon_vma(own);
		chains_free(&chains);
	}
	return 0;
}

/**
 * unlink_anon_vmas - take a VMA out of the forest
 * @vma: the VMA; afterwards it has no chains and no anon_vma
 *
 * Anon_vmas that no VMA is left in are freed, the newest first, so that a root goes last.
 *
 * Context: nobody else can reach the VMA through its process. Sleeps.
 */
void unlink_anon_vmas(struct vm_area_struct *vma)
{
	struct anon_vma *root = anon_vma_root_lock(vma);
	struct anon_vma_chain *avc, *next;

	if (!root)
		return;
	list_for_each_entry(avc, &vma->anon_vma_chain, same_vma) {
		struct anon_vma *av = avc->anon_vma;

		VM_WARN_ON_ONCE(av->root != root);
		anon_vma_interval_tree_remove(avc, &av->rb_root);
		if (RB_EMPTY_ROOT(&av->rb_root.rb_root))
			av->parent->num_children--;
		else
			avc->anon_vma = NULL;
	}
	if (vma->anon_vma) {
		vma->anon_vma->num_active_vmas--;
		vma->anon_vma = NULL;
	}
	anon_vma_root_unlock(root);

	/* Freeing may need the lock, so it is done without. */
	list_for_each_entry_safe(avc, next, &vma->anon_vma_chain, same_vma) {
		if (avc->anon_vma) {
			VM_WARN_ON_ONCE(avc->anon_vma->num_children);
			VM_WARN_ON_ONCE(avc->anon_vma->num_active_vmas);
			put_anon_vma(avc->anon_vma);
		}
		kmem_cache_free(anon_vma_chain_cachep, avc);
	}
	INIT_LIST_HEAD(&vma->anon_vma_chain);
}

/* What must hold of the memory even while it is free. */
static void anon_vma_ctor(void *data)
{
	struct anon_vma *av = data;

	atomic_set(&av->refcount, 0);
	init_rwsem(&av->rwsem);
	av->rb_root = RB_ROOT_CACHED;
}

/** anon_vma_init - make the slabs, at boot */
void __init anon_vma_init(void)
{
	anon_vma_chain_cachep = KMEM_CACHE(anon_vma_chain, SLAB_PANIC | SLAB_ACCOUNT);
	anon_vma_cachep = kmem_cache_create("anon_vma", sizeof(struct anon_vma), 0,
					    SLAB_PANIC | SLAB_ACCOUNT | SLAB_TYPESAFE_BY_RCU,
					    anon_vma_ctor);
}

/*
 * The anon_vma that a mapped anonymous folio names. Nothing keeps it from being freed but
 * RCU, which keeps the memory an anon_vma's, though perhaps another's. NULL when the
 * folio is not anonymous, is a KSM folio, or is not mapped.
 */
static struct anon_vma *anon_vma_named(struct folio *folio, unsigned long *mapping)
{
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "folio->mapping followed without RCU");
	*mapping = (unsigned long)READ_ONCE(folio->mapping);
	if ((*mapping & PAGE_MAPPING_FLAGS) != PAGE_MAPPING_ANON || !folio_mapped(folio))
		return NULL;
	return (struct anon_vma *)(*mapping - PAGE_MAPPING_ANON);
}

/**
 * folio_get_anon_vma - take a reference on the anon_vma of a folio
 * @folio: the folio; locked by the caller, or the caller copes with another anon_vma
 *	taking this one's place
 *
 * If the folio is mapped after the reference is taken, it was mapped all the time that the
 * reference took effect, and a mapped folio's anon_vma is alive. If it is not, the reference
 * may be on something else and is dropped.
 *
 * Context: any; may sleep to drop it.
 * Return: the anon_vma, for put_anon_vma(), or NULL when the folio is not mapped.
 */
struct anon_vma *folio_get_anon_vma(struct folio *folio)
{
	struct anon_vma *av;
	unsigned long mapping;

	rcu_read_lock();
	av = anon_vma_named(folio, &mapping);
	if (av && !atomic_inc_not_zero(&av->refcount))
		av = NULL;
	if (!av || folio_mapped(folio)) {
		rcu_read_unlock();
		return av;
	}
	rcu_read_unlock();
	put_anon_vma(av);
	return NULL;
}

/* What became of an attempt to lock a folio's anon_vma. */
enum anon_vma_lock {
	ANON_VMA_LOCKED,
	ANON_VMA_NONE,		/* the folio has none that matters */
	ANON_VMA_BUSY,		/* its lock is held for writing */
	ANON_VMA_MOVED,		/* the folio was given another; try again */
};

/*
 * Without waiting and without a reference. What was locked is the folio's anon_vma if the
 * folio names it still and is mapped still; and then it stays, as anon_vma_free() waits.
 * The root is read once: the memory may be recycled while the lock is tried, and what was
 * locked is what must be unlocked.
 */
static enum anon_vma_lock anon_vma_try(struct folio *folio, struct anon_vma *av,
				       unsigned long mapping)
{
	struct anon_vma *root = READ_ONCE(av->root);

	if (!down_read_trylock(&root->rwsem))
		return ANON_VMA_BUSY;
	if (likely((unsigned long)READ_ONCE(folio->mapping) == mapping && folio_mapped(folio)))
		return ANON_VMA_LOCKED;
	up_read(&root->rwsem);
	return folio_mapped(folio) ? ANON_VMA_MOVED : ANON_VMA_NONE;
}

/*
 * Wait for the lock, with a reference taken under RCU, which the caller has left. When
 * that reference turns out to be the last one, nobody is left to whom the lock matters.
 */
static enum anon_vma_lock anon_vma_wait(struct folio *folio, struct anon_vma *av,
					unsigned long mapping)
{
	if (!folio_mapped(folio)) {
		put_anon_vma(av);
		return ANON_VMA_NONE;
	}
	anon_vma_lock_read(av);
	if (unlikely((unsigned long)READ_ONCE(folio->mapping) != mapping)) {
		anon_vma_unlock_read(av);
		put_anon_vma(av);
		return ANON_VMA_MOVED;
	}
	if (likely(!atomic_dec_and_test(&av->refcount)))
		return ANON_VMA_LOCKED;
	anon_vma_unlock_read(av);
	__put_anon_vma(av);
	return ANON_VMA_NONE;
}

/**
 * folio_lock_anon_vma_read - lock the anon_vma of a folio for reading
 * @folio: the folio, referenced; it need not be locked
 * @rwc: with try_lock set, do not wait but set contended; or NULL
 *
 * The usual case costs the lock's one atomic operation.
 *
 * Context: may sleep unless rwc->try_lock.
 * Return: the anon_vma, for anon_vma_unlock_read(), or NULL.
 */
struct anon_vma *folio_lock_anon_vma_read(struct folio *folio, struct rmap_walk_control *rwc)
{
	enum anon_vma_lock got;
	unsigned long mapping;
	struct anon_vma *av;
	bool wait;

	do {
		wait = false;
		got = ANON_VMA_NONE;
		rcu_read_lock();
		av = anon_vma_named(folio, &mapping);
		if (av)
			got = anon_vma_try(folio, av, mapping);
		if (got == ANON_VMA_BUSY) {
			if (rwc && rwc->try_lock)
				rwc->contended = true;
			else
				wait = atomic_inc_not_zero(&av->refcount);
		}
		rcu_read_unlock();
		if (wait)
			got = anon_vma_wait(folio, av, mapping);
	} while (got == ANON_VMA_MOVED);
	return got == ANON_VMA_LOCKED ? av : NULL;
}
