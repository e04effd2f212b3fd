// SPDX-License-Identifier: GPL-2.0
/*
 * A compressor that copies the first half of a page, for pages whose second half is zero: with it
 * the benchmark measures zswap, and not an algorithm. "foliage-copy", for both of the ways by which
 * the kernel asks for one.
 *
 * scripts/bench builds it for each kernel, as a module.
 */
#include <crypto/internal/scompress.h>
#include <linux/crypto.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/string.h>

#define HALF	(PAGE_SIZE / 2)

static int halve(const u8 *src, unsigned int slen, u8 *dst, unsigned int *dlen)
{
	if (slen != PAGE_SIZE || *dlen < HALF || src[HALF] || src[PAGE_SIZE - 1])
		return -EINVAL;
	memcpy(dst, src, HALF);
	*dlen = HALF;
	return 0;
}

static int unhalve(const u8 *src, unsigned int slen, u8 *dst, unsigned int *dlen)
{
	if (slen != HALF || *dlen < PAGE_SIZE)
		return -EINVAL;
	memcpy(dst, src, HALF);
	memset(dst + HALF, 0, HALF);
	*dlen = PAGE_SIZE;
	return 0;
}

static int comp_halve(struct crypto_tfm *tfm, const u8 *src, unsigned int slen, u8 *dst,
		      unsigned int *dlen)
{
	return halve(src, slen, dst, dlen);
}

static int comp_unhalve(struct crypto_tfm *tfm, const u8 *src, unsigned int slen, u8 *dst,
			unsigned int *dlen)
{
	return unhalve(src, slen, dst, dlen);
}

static int scomp_halve(struct crypto_scomp *tfm, const u8 *src, unsigned int slen, u8 *dst,
		       unsigned int *dlen, void *ctx)
{
	return halve(src, slen, dst, dlen);
}

static int scomp_unhalve(struct crypto_scomp *tfm, const u8 *src, unsigned int slen, u8 *dst,
			 unsigned int *dlen, void *ctx)
{
	return unhalve(src, slen, dst, dlen);
}

static void *ctx_alloc(struct crypto_scomp *tfm)
{
	return NULL;
}

static void ctx_free(struct crypto_scomp *tfm, void *ctx)
{
}

static struct crypto_alg comp = {
	.cra_name	= "foliage-copy",
	.cra_driver_name = "foliage-copy-generic",
	.cra_flags	= CRYPTO_ALG_TYPE_COMPRESS,
	.cra_module	= THIS_MODULE,
	.cra_u		= { .compress = {
		.coa_compress	= comp_halve,
		.coa_decompress	= comp_unhalve,
	} },
};

static struct scomp_alg scomp = {
	.alloc_ctx	= ctx_alloc,
	.free_ctx	= ctx_free,
	.compress	= scomp_halve,
	.decompress	= scomp_unhalve,
	.base		= {
		.cra_name	= "foliage-copy",
		.cra_driver_name = "foliage-copy-scomp",
		.cra_module	= THIS_MODULE,
	},
};

static int __init copy_init(void)
{
	int err = crypto_register_alg(&comp);

	if (err)
		return err;
	err = crypto_register_scomp(&scomp);
	if (err)
		crypto_unregister_alg(&comp);
	return err;
}

static void __exit copy_exit(void)
{
	crypto_unregister_scomp(&scomp);
	crypto_unregister_alg(&comp);
}

module_init(copy_init);
module_exit(copy_exit);
MODULE_DESCRIPTION("Compressor that copies half pages, to measure zswap");
MODULE_LICENSE("GPL");
