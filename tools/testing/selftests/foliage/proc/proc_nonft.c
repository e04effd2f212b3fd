// SPDX-License-Identifier: GPL-2.0
/*
 * CRIU asks libnftables at its start what the kernel's packet filter can do, and gives up on a
 * kernel that has none, even when it is to save a process without a socket. Preloaded, this answers
 * in the library's place; nobody here asks for a packet to be held.
 */
struct nft_ctx;

struct nft_ctx *nft_ctx_new(unsigned int flags)
{
	static char some;

	(void)flags;
	return (struct nft_ctx *)&some;
}

void nft_ctx_free(struct nft_ctx *ctx)
{
	(void)ctx;
}

int nft_run_cmd_from_buffer(struct nft_ctx *ctx, const char *buf)
{
	(void)ctx;
	(void)buf;
	return 0;
}
