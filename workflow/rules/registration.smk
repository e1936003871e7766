# From trained methods and pairs to transforms, and what they are worth.


rule register:
    input:
        settings=register_settings,
        pairs=pair_shard,
        model=method_model,
    output:
        layout.registered_shard("{method}", "{shard}"),
    log:
        layout.log("register", "{method}-{shard}"),
    benchmark:
        layout.benchmark("register", "{method}-{shard}")
    wildcard_constraints:
        method=one_of(method for method in METHODS if method not in ACCELERATED),
    conda:
        ENVIRONMENT
    threads: settings.threads.register
    resources:
        mem_mb=more(8000),
        runtime=more(720),
    params:
        settings=str(layout.settings("register", "{method}-{shard}")),
        results=results_folder,
        seed=settings.seed,
    shell:
        "cohortreg register-shard {params.results:q} --method {wildcards.method:q} --settings {params.settings:q}"
        " --shard {wildcards.shard:q} --seed {params.seed:q} --threads {threads:q} 2>&1 | tee {log:q}"


# A rule of its own, since a cluster gives all jobs of an array the same, and only these are faster with a GPU.
use rule register as register_networks with:
    wildcard_constraints:
        method=one_of(ACCELERATED),


rule evaluate:
    input:
        settings=evaluate_settings,
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
        settings=str(layout.settings("evaluate", "{method}-{shard}")),
        results=results_folder,
    shell:
        "cohortreg evaluate {params.results:q} --method {wildcards.method:q} --settings {params.settings:q}"
        " --shard {wildcards.shard:q} 2>&1 | tee {log:q}"
