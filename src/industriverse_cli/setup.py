from setuptools import find_packages, setup

setup(
    name="industriverse_cli",
    version="0.1.0",
    packages=find_packages(exclude=["test"]),
    package_data={"industriverse_cli": ["**/*.yaml", "py.typed", "report/web/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/industriverse_cli"]),
        ("share/industriverse_cli", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=True,
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "industriverse = industriverse_cli.main:main",
        ],
        "industriverse.warmup": ["industriverse_cli = industriverse_cli.report.warmup:warm_up"],
    },
)
