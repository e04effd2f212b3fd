// SPDX-License-Identifier: GPL-2.0
/*
 * One page through a CPU's compressor.
 *
 *	the algorithm			what is used	how
 *	never sleeps, takes addresses	crypto_comp	straight from and to where the data is
 *	all others (hardware)		crypto_acomp	a request that is waited for
 *
 * All algorithms of the kernel's own are of the first kind, and the same code behind both.
 */
#include <linux/highmem.h>
#include <linux/scatterlist.h>

#include "zswap.h"

static int setup_request(struct zswap_compressor *c)
{
	c->req = acomp_request_alloc(c->acomp);
	if (!c->req)
		return -ENOMEM;
	crypto_init_wait(&c->wait);
	acomp_request_set_callback(c->req, CRYPTO_TFM_REQ_MAY_BACKLOG, crypto_req_done, &c->wait);
	return 0;
}

static int setup_algorithm(struct zswap_compressor *c, const char *name, int nid)
{
	struct crypto_acomp *acomp = crypto_alloc_acomp_node(name, 0, 0, nid);

	if (IS_ERR(acomp))
		return PTR_ERR(acomp);
	if (!acomp_is_async(acomp) && crypto_has_comp(name, 0, 0)) {
		struct crypto_comp *comp = crypto_alloc_comp(name, 0, 0);

		if (!IS_ERR(comp)) {
			crypto_free_acomp(acomp);
			c->comp = comp;
			return 0;
		}
	}
	c->acomp = acomp;
	return setup_request(c);
}

/**
 * zswap_compressor_setup - allocate what a CPU needs to compress
 * @c: zeroed, but for its lock
 * @name: an algorithm that exists
 * @nid: the CPU's node
 *
 * Context: may sleep. Nobody uses @c yet, so its lock is not taken: to allocate may mean to
 * reclaim, and so to compress.
 * Return: 0, or an error and @c is as it was.
 */
int zswap_compressor_setup(struct zswap_compressor *c, const char *name, int nid)
{
	int err;

	c->buffer = kmalloc_node(2 * PAGE_SIZE, GFP_KERNEL, nid);
	if (!c->buffer)
		return -ENOMEM;
	err = setup_algorithm(c, name, nid);
	if (err) {
		pr_err("zswap: compressor %s cannot be set up: error %d\n", name, err);
		zswap_compressor_free(c);
	}
	return err;
}

/**
 * zswap_compressor_free - give back what zswap_compressor_setup() has allocated
 * @c: set up, in part, or not at all
 */
void zswap_compressor_free(struct zswap_compressor *c)
{
	if (c->req)
		acomp_request_free(c->req);
	if (c->acomp)
		crypto_free_acomp(c->acomp);
	if (c->comp)
		crypto_free_comp(c->comp);
	kfree(c->buffer);
	c->req = NULL;
	c->acomp = NULL;
	c->comp = NULL;
	c->buffer = NULL;
}

/* With room for what is longer than a page, algorithms do not fail for lack of it. */
static int compress_direct(struct zswap_compressor *c, struct page *page, unsigned int *length)
{
	const void *src = kmap_local_page(page);
	int err;

	*length = 2 * PAGE_SIZE;
	err = crypto_comp_compress(c->comp, src, PAGE_SIZE, c->buffer, length);
	kunmap_local(src);
	return err;
}

/* Hardware may write more than it is allowed to: the buffer is longer than what it is told. */
static int compress_request(struct zswap_compressor *c, struct page *page, unsigned int *length)
{
	struct scatterlist src, dst;
	int err;

	sg_init_table(&src, 1);
	sg_set_page(&src, page, PAGE_SIZE, 0);
	sg_init_one(&dst, c->buffer, 2 * PAGE_SIZE);
	acomp_request_set_params(c->req, &src, &dst, PAGE_SIZE, PAGE_SIZE);
	err = crypto_wait_req(crypto_acomp_compress(c->req), &c->wait);
	*length = c->req->dlen;
	return err == -ENOSPC ? ZSWAP_POOR : err;
}

/**
 * zswap_compress - compress a page into the compressor's buffer
 * @c: locked
 * @page: of a folio that nobody writes to
 * @length: of what is in the buffer, in bytes, less than a page
 *
 * Return: 0; ZSWAP_POOR if that would be a page or more; or the algorithm's error.
 */
int zswap_compress(struct zswap_compressor *c, struct page *page, unsigned int *length)
{
	int err = c->comp ? compress_direct(c, page, length) : compress_request(c, page, length);

	if (!err && *length >= PAGE_SIZE)
		return ZSWAP_POOR;
	return err;
}

static int decompress_direct(struct zswap_compressor *c, const void *src, unsigned int length,
			     struct page *page)
{
	unsigned int got = PAGE_SIZE;
	void *dst = kmap_local_page(page);
	int err;

	err = crypto_comp_decompress(c->comp, src, length, dst, &got);
	kunmap_local(dst);
	flush_dcache_page(page);
	return !err && got != PAGE_SIZE ? -EIO : err;
}

static int decompress_request(struct zswap_compressor *c, const void *src, unsigned int length,
			      struct page *page)
{
	struct scatterlist in, out;
	int err;

	sg_init_one(&in, src, length);
	sg_init_table(&out, 1);
	sg_set_page(&out, page, PAGE_SIZE, 0);
	acomp_request_set_params(c->req, &in, &out, length, PAGE_SIZE);
	err = crypto_wait_req(crypto_acomp_decompress(c->req), &c->wait);
	return !err && c->req->dlen != PAGE_SIZE ? -EIO : err;
}

/* A request takes linear memory, and where it sleeps, memory that stays mapped meanwhile. */
static bool must_be_copied(struct zswap_compressor *c, struct zpool *zpool, const void *src)
{
	if (c->comp)
		return false;
	if (acomp_is_async(c->acomp) && !zpool_can_sleep_mapped(zpool))
		return true;
	return !virt_addr_valid(src);
}

/**
 * zswap_decompress - fill a page from its data in the pool
 * @c: locked, of the run's pool
 * @run: holds the page; it is the caller's
 * @i: which page of it; has data
 * @page: filled
 *
 * Return: 0, or an error, and what is in @page is nobody's.
 */
int zswap_decompress(struct zswap_compressor *c, struct zswap_run *run, unsigned int i,
		     struct page *page)
{
	struct zpool *zpool = run->pool->zpool;
	unsigned int length = zswap_lengths(run)[i];
	const void *src = zpool_map_handle(zpool, run->handle[i], ZPOOL_MM_RO);
	int err;

	if (must_be_copied(c, zpool, src)) {
		memcpy(c->buffer, src, length);
		zpool_unmap_handle(zpool, run->handle[i]);
		return decompress_request(c, c->buffer, length, page);
	}
	if (c->comp)
		err = decompress_direct(c, src, length, page);
	else
		err = decompress_request(c, src, length, page);
	zpool_unmap_handle(zpool, run->handle[i]);
	return err;
}
