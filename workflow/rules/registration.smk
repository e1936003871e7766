# From trained methods and pairs to transforms, and what they are worth.


rule register:
    input:
        pairs=pair_shard,
        model=method_model,
    output:
        layout.registered_shard("{method}", "{shard}"),
    log:
        layout.log("register", "{method}-{shard}"),
    benchmark:
        layout.benchmark("register", "{method}-{shard}")
    wildcard_constraints:
        method=one_of(method for method in config["methods"] if method not in NETWORKS),
    conda:
        ENVIRONMENT
    threads: config["threads"]["register"]
    resources:
        mem_mb=more(8000),
        runtime=more(720),
    params:
        results=results_folder,
        settings=method_settings,
        seed=config["seed"],
    shell:
        "cohortreg register-shard {params.results} --method {wildcards.method} --settings {params.settings:q}"
        " --shard {wildcards.shard} --seed {params.seed} --threads {threads} 2>&1 | tee {log}"


# A rule of its own, since a cluster gives all jobs of an array the same, and only these are faster with a GPU.
use rule register as register_networks with:
    wildcard_constraints:
        method=one_of(NETWORKS),


rule evaluate:
    input:
        # Their digests, too, so that Snakemake looks again once the cohort was gathered.
        pairs=pair_shard,
        registered=layout.registered_shard("{method}", "{shard}"),
    output:
        layout.evaluated_shard("{method}", "{shard}"),
    log:
        layout.log("evaluate", "{method}-{shard}"),
    benchmark:
        layout.benchmark("evaluate", "{method}-{shard}")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(240),
    params:
        results=results_folder,
        settings=settings("structures"),
    shell:
        "cohortreg evaluate {params.results} --method {wildcards.method} --settings {params.settings:q}"
        " --shard {wildcards.shard} 2>&1 | tee {log}"
