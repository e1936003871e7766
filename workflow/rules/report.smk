# From what was measured to tables, figures and the report.


rule tables:
    input:
        shards=[
            layout.evaluated_shard(method, shard) for method in config["methods"] for shard in PAIR_SHARDS
        ],
        # A removed pair changes the tables. Besides, of rules that share a Slurm job the first must wait for the
        # checkpoint where a later one does: Snakemake 9.27 counts a later one twice, as planned before it and after.
        pairs=layout.pairs,
        published=config["report"]["published"] or [],
    output:
        report(
            layout.methods_table,
            caption="../report/methods.rst",
            category="Comparison",
            labels={"what": "methods", "as": "table"},
        ),
        report(
            layout.pairs_table,
            caption="../report/pairs.rst",
            category="Comparison",
            labels={"what": "pairs", "as": "table"},
        ),
        layout.sets_table,
        layout.methods_markdown,
        layout.methods_latex,
    log:
        layout.log("tables"),
    benchmark:
        layout.benchmark("tables")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        results=results_folder,
        settings=settings("methods", "models", "pretrained", "report", "seed"),
        shards=config["shards"]["pairs"],
    shell:
        "cohortreg tables {params.results} --settings {params.settings:q} --shards {params.shards}"
        " 2>&1 | tee {log}"


rule figures:
    input:
        tables=rules.tables.output,
        histories=HISTORIES,
    output:
        [
            report(
                layout.figure(name),
                caption=f"../report/{name}.rst",
                category=CATEGORIES.get(name, "Registration"),
                labels={"what": name, "as": "figure"},
            )
            for name in FIGURES
        ],
        [layout.figure(name, "svg") for name in FIGURES],
    log:
        layout.log("figures"),
    benchmark:
        layout.benchmark("figures")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(4000),
        runtime=more(60),
    params:
        results=results_folder,
        settings=settings("methods", "models", "structures"),
    shell:
        "cohortreg figures {params.results} --settings {params.settings:q} 2>&1 | tee {log}"


rule report:
    input:
        figures=rules.figures.output,
        tables=rules.tables.output,
        summary=layout.cohort,
        excluded=layout.excluded,
    output:
        report(
            directory(layout.report.root),
            caption="../report/report.rst",
            category="Comparison",
            htmlindex=layout.report.index.name,
            labels={"what": "all", "as": "report"},
        ),
    log:
        layout.log("report"),
    benchmark:
        layout.benchmark("report")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    params:
        results=results_folder,
        settings=json.dumps(config | {"left_out": list(MISSING.values())}),
    shell:
        "cohortreg report {params.results} --settings {params.settings:q} 2>&1 | tee {log}"
